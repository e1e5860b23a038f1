package mosn.peers;

import static mosn.peers.Check.equal;

import com.alipay.remoting.BizContext;
import com.alipay.remoting.InvokeCallback;
import com.alipay.remoting.InvokeContext;
import com.alipay.remoting.exception.ConnectionClosedException;
import com.alipay.remoting.exception.DeserializationException;
import com.alipay.remoting.exception.RemotingException;
import com.alipay.remoting.rpc.RequestCommand;
import com.alipay.remoting.rpc.RpcClient;
import com.alipay.remoting.rpc.RpcServer;
import com.alipay.remoting.rpc.exception.InvokeException;
import com.alipay.remoting.rpc.exception.InvokeServerException;
import com.alipay.remoting.rpc.exception.InvokeTimeoutException;
import com.alipay.remoting.rpc.protocol.RpcRequestCommand;
import com.alipay.remoting.rpc.protocol.SyncUserProcessor;
import com.alipay.remoting.CustomSerializerManager;
import com.alipay.remoting.DefaultCustomSerializer;
import com.alipay.remoting.serialization.SerializerManager;
import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.Serializable;
import java.io.UncheckedIOException;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executor;

/** SOFABolt by either version of its protocol. The server speaks both at once. */
final class Bolt implements Stack {
  private final int version;
  private final boolean checksum;
  private final Map<String, Caller> shared = new ConcurrentHashMap<>();

  static {
    CustomSerializerManager.registerCustomSerializer(Call.class.getName(), new Headers());
  }

  Bolt(int version, boolean checksum) {
    this.version = version;
    this.checksum = checksum;
  }

  @Override
  public void serve(List<Integer> ports) {
    for (int port : ports) {
      RpcServer server = new RpcServer("127.0.0.1", port);
      server.registerUserProcessor(new Processor(new EchoService(port), server));
      server.startup();
    }
  }

  @Override
  public Caller connect(Target target, Class<? extends Echo> service, int timeout, boolean own) {
    String key = target + service.getName() + timeout;
    return own ? client(target, service, timeout, own) : shared.computeIfAbsent(key, k -> client(target, service, timeout, own));
  }

  private BoltCaller client(Target target, Class<? extends Echo> service, int timeout, boolean own) {
    RpcClient client = new RpcClient();
    client.startup();
    String address = target.address() + "?_CONNECTIONNUM=1&_CONNECTTIMEOUT=1000&_PROTOCOL=" + version;
    if (version == 2) {
      // The version of the second protocol that knows checksums.
      address += "&_VERSION=2";
    }
    return new BoltCaller(client, address, service, timeout, checksum);
  }

  /** What the header `service` says. */
  private static String nameOf(Class<? extends Echo> service) {
    return "mosn.bolt." + service.getSimpleName();
  }

  @Override
  public Kind kind(Throwable failure) {
    return kindOf(failure);
  }

  static Kind kindOf(Throwable failure) {
    String text = String.valueOf(failure.getMessage());
    if (failure instanceof InvokeTimeoutException) {
      return Kind.TIMEOUT;
    }
    if (failure instanceof InvokeException && text.contains("NO_PROCESSOR")) {
      return Kind.NO_PROVIDER;
    }
    if (failure instanceof ConnectionClosedException
        || failure instanceof InvokeException && (text.contains("UNKNOWN") || text.contains("CONNECTION_CLOSED"))) {
      return Kind.LOST;
    }
    return Kind.OTHER;
  }

  @Override
  public boolean refused(Throwable failure, String reason) {
    // The class arrives by name, within a text.
    return failure instanceof InvokeServerException
        && failure.getCause() != null
        && failure.getCause().getMessage().contains(Refused.class.getName() + ": " + reason);
  }

  @Override
  public boolean tellsTimeout() {
    return true;
  }

  @Override
  public Map<String, Case> cases() {
    Map<String, Case> cases = new LinkedHashMap<>();
    cases.put("headers pass byte for byte", this::headers);
    cases.put("a server's call to its client", this::push);
    return cases;
  }

  private String headers(Stack stack, Target target) throws Exception {
    BoltCaller caller = (BoltCaller) connect(target, Echo.class, Cases.PATIENCE, false);
    byte[] block =
        Headers.block(
            "z", "1", "", "empty name", "service", nameOf(Echo.class), "Service", "other", "null", null, "empty", "",
            "big", "x".repeat(20_000), "z", "2", "\u540d", "\u503c");
    for (int i = 0; i < 3; i++) {
      Object seen = caller.invoke(new Call("headers"), block);
      equal(seen, HexFormat.of().formatHex(block), "header block");
    }
    return null;
  }

  /** A proxy that shares upstream connections cannot pass it on; no call may be lost by that. */
  private String push(Stack stack, Target target) throws Exception {
    BoltCaller caller = (BoltCaller) client(target, Echo.class, Cases.PATIENCE, true);
    try {
      caller.client.registerUserProcessor(new Processor(new EchoService(0), null));
      CompletableFuture<byte[]> other = caller.future(Data.of(100));
      Object outcome = caller.invoke(new Call("push"), null);
      equal(other.get(), Data.of(100), "another call's answer");
      equal(caller.sync().size(Data.of(10)), 10, "a call after it");
      if (!target.proxied() || target.bound()) {
        equal(outcome, "answered", "outcome of the server's call");
      }
      return String.valueOf(outcome);
    } finally {
      caller.close();
    }
  }

  /** What goes over the wire: a method's name and its arguments. */
  static final class Call implements Serializable {
    final String method;
    final Object[] arguments;
    transient byte[] headers;

    Call(String method, Object... arguments) {
      this.method = method;
      this.arguments = arguments;
    }
  }

  /** Writes the header block that the context holds, and gives the server the one that arrived. */
  private static final class Headers extends DefaultCustomSerializer {
    static final String KEY = "peers.headers";

    static byte[] block(String... pairs) {
      ByteArrayOutputStream bytes = new ByteArrayOutputStream();
      try (DataOutputStream out = new DataOutputStream(bytes)) {
        for (String part : pairs) {
          byte[] text = part == null ? new byte[0] : part.getBytes(StandardCharsets.UTF_8);
          out.writeInt(part == null ? -1 : text.length);
          out.write(text);
        }
      } catch (IOException impossible) {
        throw new UncheckedIOException(impossible);
      }
      return bytes.toByteArray();
    }

    @Override
    public <T extends RequestCommand> boolean serializeHeader(T request, InvokeContext context) {
      ((RpcRequestCommand) request).setHeader(context.<byte[]>get(KEY));
      return true;
    }

    @Override
    public <T extends RequestCommand> boolean deserializeContent(T request) throws DeserializationException {
      RpcRequestCommand command = (RpcRequestCommand) request;
      Call call;
      try {
        call =
            SerializerManager.getSerializer(command.getSerializer())
                .deserialize(command.getContent(), command.getRequestClass());
      } catch (com.alipay.remoting.exception.CodecException failure) {
        throw new DeserializationException("content", failure);
      }
      call.headers = command.getHeader();
      command.setRequestObject(call);
      return true;
    }
  }

  private static final class Processor extends SyncUserProcessor<Call> {
    private final EchoService service;
    private final RpcServer server;

    Processor(EchoService service, RpcServer server) {
      this.service = service;
      this.server = server;
    }

    @Override
    public Object handleRequest(BizContext context, Call call) throws Exception {
      if (call.method.equals("headers")) {
        return HexFormat.of().formatHex(call.headers);
      }
      if (call.method.equals("pushed")) {
        return "answered";
      }
      if (call.method.equals("push")) {
        return push(context);
      }
      for (Method method : Echo.class.getMethods()) {
        if (method.getName().equals(call.method)) {
          try {
            return method.invoke(service, call.arguments);
          } catch (ReflectiveOperationException failure) {
            throw Check.bare(failure) instanceof Exception bare ? bare : failure;
          }
        }
      }
      throw new NoSuchMethodException(call.method);
    }

    /** Calls the client back on the connection of its call. */
    private Object push(BizContext context) throws InterruptedException {
      InvokeContext invoke = new InvokeContext();
      invoke.put(Headers.KEY, Headers.block("service", "mosn.peers.Client"));
      try {
        return server.invokeSync(context.getConnection(), new Call("pushed"), invoke, 3_000);
      } catch (RemotingException failure) {
        return failure.getClass().getSimpleName();
      }
    }

    @Override
    public String interest() {
      return Call.class.getName();
    }
  }

  private record BoltCaller(
      RpcClient client, String address, Class<? extends Echo> service, int timeout, boolean checksum)
      implements Caller {
    private InvokeContext context(byte[] headers) {
      InvokeContext context = new InvokeContext();
      context.put(InvokeContext.BOLT_CRC_SWITCH, checksum);
      byte[] usual = Headers.block("app", "peers", "none", null, "service", nameOf(service));
      context.put(Headers.KEY, headers == null ? usual : headers);
      return context;
    }

    Object invoke(Call call, byte[] headers) throws RemotingException, InterruptedException {
      return client.invokeSync(address, call, context(headers), timeout);
    }

    @Override
    public Echo sync() {
      return (Echo)
          Proxy.newProxyInstance(
              Echo.class.getClassLoader(),
              new Class<?>[] {Echo.class},
              (proxy, method, arguments) -> invoke(new Call(method.getName(), arguments), null));
    }

    @Override
    public CompletableFuture<byte[]> future(byte[] data) {
      CompletableFuture<byte[]> answer = new CompletableFuture<>();
      try {
        var future = client.invokeWithFuture(address, new Call("echo", data), context(null), timeout);
        CompletableFuture.runAsync(
            () -> {
              try {
                answer.complete((byte[]) future.get());
              } catch (RemotingException | InterruptedException failure) {
                answer.completeExceptionally(failure);
              }
            });
      } catch (RemotingException | InterruptedException failure) {
        answer.completeExceptionally(failure);
      }
      return answer;
    }

    @Override
    public CompletableFuture<byte[]> callback(byte[] data) {
      CompletableFuture<byte[]> answer = new CompletableFuture<>();
      InvokeCallback callback =
          new InvokeCallback() {
            @Override
            public void onResponse(Object result) {
              answer.complete((byte[]) result);
            }

            @Override
            public void onException(Throwable failure) {
              answer.completeExceptionally(failure);
            }

            @Override
            public Executor getExecutor() {
              return null;
            }
          };
      try {
        client.invokeWithCallback(address, new Call("echo", data), context(null), callback, timeout);
      } catch (RemotingException | InterruptedException failure) {
        answer.completeExceptionally(failure);
      }
      return answer;
    }

    @Override
    public void oneway(String key) {
      try {
        client.oneway(address, new Call("note", key), context(null));
      } catch (RemotingException | InterruptedException failure) {
        throw new IllegalStateException(failure);
      }
    }

    @Override
    public void close() {
      client.shutdown();
    }
  }
}
