package mosn.peers;

import static mosn.peers.Check.equal;

import java.lang.reflect.Field;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.dubbo.common.utils.NetUtils;
import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.ProtocolConfig;
import org.apache.dubbo.config.ReferenceConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.ServiceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;
import org.apache.dubbo.remoting.RemotingException;
import org.apache.dubbo.rpc.RpcContext;
import org.apache.dubbo.rpc.RpcException;

/** Apache Dubbo by the dubbo protocol, without a registry. */
final class Dubbo implements Stack {
  /** References are expensive and live as long as the process. */
  private final Map<String, Object> references = new ConcurrentHashMap<>();

  static {
    // Dubbo connects to the machine's outer address when told 127.0.0.1.
    try {
      Field address = NetUtils.class.getDeclaredField("HOST_ADDRESS");
      address.setAccessible(true);
      address.set(null, "127.0.0.1");
    } catch (ReflectiveOperationException failure) {
      throw new ExceptionInInitializerError(failure);
    }
  }

  private static ApplicationConfig application(String name) {
    ApplicationConfig application = new ApplicationConfig(name);
    application.setQosEnable(false);
    application.setRegisterConsumer(false);
    application.setLogger("slf4j");
    return application;
  }

  @Override
  public void serve(List<Integer> ports) {
    DubboBootstrap bootstrap =
        DubboBootstrap.getInstance()
            .application(application("provider"))
            .registry(new RegistryConfig(RegistryConfig.NO_AVAILABLE));
    List<ProtocolConfig> protocols = ports.stream().map(Dubbo::protocol).toList();
    bootstrap.protocols(protocols);
    bootstrap.service(service(protocols, Echo.class, null, null));
    bootstrap.service(service(protocols, Slow.class, null, null));
    bootstrap.service(service(protocols, Echo.class, "blue", null));
    bootstrap.service(service(protocols, Echo.class, null, "2.0.0"));
    bootstrap.start();
  }

  private static ProtocolConfig protocol(int port) {
    ProtocolConfig protocol = new ProtocolConfig("dubbo", port);
    protocol.setId("dubbo" + port);
    protocol.setHost("127.0.0.1");
    protocol.setSerialization("hessian2");
    protocol.setParameters(Map.of("heartbeat", String.valueOf(Main.HEARTBEAT)));
    return protocol;
  }

  private static <T extends Echo> ServiceConfig<T> service(
      List<ProtocolConfig> protocols, Class<T> type, String group, String version) {
    ServiceConfig<T> service = new ServiceConfig<>();
    service.setInterface(type);
    service.setRef(type.cast(new DubboService()));
    service.setProtocols(protocols);
    service.setGroup(group);
    service.setVersion(version);
    service.setScope("remote");
    service.setRegister(false);
    return service;
  }

  @Override
  public Caller connect(Target target, Class<? extends Echo> service, int timeout, boolean own) {
    if (own) {
      return new DubboCaller(refer(target, service, timeout, null, null, true));
    }
    Object shared =
        references.computeIfAbsent(
            target + service.getName() + timeout,
            key -> new DubboCaller(refer(target, service, timeout, null, null, false)));
    return (Caller) shared;
  }

  private static <T extends Echo> ReferenceConfig<T> refer(
      Target target, Class<T> service, int timeout, String group, String version, boolean own) {
    ReferenceConfig<T> reference = new ReferenceConfig<>();
    DubboBootstrap.getInstance().application(application("consumer"));
    reference.setInterface(service);
    reference.setUrl(
        "dubbo://" + target.address() + "?serialization=hessian2&heartbeat=" + Main.HEARTBEAT);
    reference.setTimeout(timeout);
    reference.setGroup(group);
    reference.setVersion(version);
    reference.setRetries(0);
    reference.setCheck(false);
    reference.setScope("remote");
    if (own) {
      reference.setConnections(1);
    }
    reference.get();
    return reference;
  }

  @Override
  public Kind kind(Throwable failure) {
    if (!(failure instanceof RpcException rpc)) {
      return Kind.OTHER;
    }
    if (rpc.isTimeout()) {
      return Kind.TIMEOUT;
    }
    String text = String.valueOf(rpc.getMessage());
    if (text.contains("404|router unavailable") || text.contains("502|no health upstream")) {
      return Kind.NO_PROVIDER;
    }
    for (Throwable cause = rpc; cause != null; cause = cause.getCause()) {
      if (cause instanceof RemotingException) {
        return Kind.LOST;
      }
    }
    return Kind.OTHER;
  }

  @Override
  public boolean refused(Throwable failure, String reason) {
    return failure instanceof Refused && reason.equals(failure.getMessage());
  }

  /** Dubbo holds calls for ten seconds after their connection broke, and looks once a minute for a new one. */
  @Override
  public boolean noticesLoss() {
    return false;
  }

  @Override
  public Map<String, Case> cases() {
    Map<String, Case> cases = new LinkedHashMap<>();
    cases.put("attachments arrive", Dubbo::attachments);
    cases.put("group chooses", (stack, target) -> chooses(target, "blue", null, null));
    cases.put("version chooses", (stack, target) -> chooses(target, null, "2.0.0", null));
    cases.put("attachment chooses", (stack, target) -> chooses(target, null, null, "lane"));
    return cases;
  }

  private static String attachments(Stack stack, Target target) throws Exception {
    Echo echo = stack.connect(target, Echo.class, Cases.PATIENCE, false).sync();
    for (String value : new String[] {"plain", "", "\u4f60\u597d", "x".repeat(5_000)}) {
      RpcContext.getClientAttachment().setAttachment("ticket", value);
      equal(echo.attachment("ticket"), value, "attachment");
    }
    RpcContext.getClientAttachment().removeAttachment("ticket");
    equal(echo.attachment("ticket"), null, "attachment that was not sent");
    return null;
  }

  /** A call that says nothing goes to the first server; one with the mark that routes know goes to the second. */
  private static String chooses(Target target, String group, String version, String attachment) {
    Echo plain = (Echo) refer(target, Echo.class, Cases.PATIENCE, null, null, false).get();
    Echo marked = (Echo) refer(target, Echo.class, Cases.PATIENCE, group, version, false).get();
    int first = plain.place();
    for (int i = 0; i < 5; i++) {
      if (attachment != null) {
        RpcContext.getClientAttachment().setAttachment(attachment, "second");
      }
      int place = marked.place();
      RpcContext.getClientAttachment().removeAttachment("lane");
      Check.expect(place != first == target.proxied(), "arrived at " + place + "; the first is " + first);
      equal(plain.place(), first, "place of a call without a mark");
    }
    return null;
  }

  /** One object serves all ports. */
  private static final class DubboService extends EchoService {
    DubboService() {
      super(0);
    }

    @Override
    public int place() {
      return RpcContext.getServiceContext().getUrl().getPort();
    }

    @Override
    public String attachment(String name) {
      return RpcContext.getServerAttachment().getAttachment(name);
    }
  }

  private record DubboCaller(ReferenceConfig<? extends Echo> reference) implements Caller {
    @Override
    public Echo sync() {
      return reference.get();
    }

    @Override
    public CompletableFuture<byte[]> future(byte[] data) {
      return RpcContext.getServiceContext().asyncCall(() -> sync().echo(data));
    }

    @Override
    public CompletableFuture<byte[]> callback(byte[] data) {
      CompletableFuture<byte[]> answer = new CompletableFuture<>();
      future(data)
          .whenComplete(
              (value, failure) -> {
                if (failure == null) {
                  answer.complete(value);
                } else {
                  answer.completeExceptionally(failure);
                }
              });
      return answer;
    }

    @Override
    public void oneway(String key) {
      RpcContext.getServiceContext().asyncCall(() -> sync().note(key));
    }

    @Override
    public void close() {
      reference.destroy();
    }
  }
}
