package mosn.peers;

import com.qq.tars.client.Communicator;
import com.qq.tars.client.CommunicatorConfig;
import com.qq.tars.client.CommunicatorFactory;
import com.qq.tars.client.ServantProxyConfig;
import com.qq.tars.common.Filter;
import com.qq.tars.common.FilterKind;
import com.qq.tars.common.support.Endpoint;
import com.qq.tars.protocol.annotation.Servant;
import com.qq.tars.protocol.tars.annotation.TarsCallback;
import com.qq.tars.protocol.tars.annotation.TarsMethodParameter;
import com.qq.tars.rpc.exc.ClientException;
import com.qq.tars.rpc.exc.TimeoutException;
import com.qq.tars.rpc.protocol.tars.support.AnalystManager;
import com.qq.tars.rpc.protocol.tars.support.TarsAbstractCallback;
import com.qq.tars.server.config.ConfigurationManager;
import com.qq.tars.server.config.ServantAdapterConfig;
import com.qq.tars.server.config.ServerConfig;
import com.qq.tars.server.core.AppContext;
import com.qq.tars.server.core.AppContextManager;
import com.qq.tars.server.core.ServantAdapter;
import com.qq.tars.server.core.ServantHomeSkeleton;
import java.io.IOException;
import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;

/** TarsJava, without its registry and its configuration files. */
final class Tars implements Stack {
  private final Map<String, Caller> shared = new ConcurrentHashMap<>();

  /** The servant; `promise_` and `async_` are the ways in which TarsJava calls `echo` without waiting. */
  @Servant(name = "echo")
  public interface TarsEcho {
    byte[] echo(@TarsMethodParameter(name = "data") byte[] data);

    CompletableFuture<byte[]> promise_echo(@TarsMethodParameter(name = "data") byte[] data);

    void async_echo(@TarsCallback(comment = "echo") EchoCallback callback, @TarsMethodParameter(name = "data") byte[] data);

    byte[] make(@TarsMethodParameter(name = "size") int size);

    int size(@TarsMethodParameter(name = "data") byte[] data);

    String sleep(@TarsMethodParameter(name = "millis") int millis);

    void note(@TarsMethodParameter(name = "key") String key);

    void async_note(@TarsCallback(comment = "note") EchoCallback callback, @TarsMethodParameter(name = "key") String key);

    int noted(@TarsMethodParameter(name = "key") String key);

    String fail(@TarsMethodParameter(name = "reason") String reason) throws Refused;

    int place();
  }

  public static final class EchoCallback extends TarsAbstractCallback {
    private final CompletableFuture<byte[]> answer = new CompletableFuture<>();

    public void callback_echo(byte[] value) {
      answer.complete(value);
    }

    @Override
    public void callback_exception(Throwable failure) {
      answer.completeExceptionally(failure);
    }

    @Override
    public void callback_expired() {
      answer.completeExceptionally(new TimeoutException("expired"));
    }
  }

  private static final class TarsService extends EchoService implements TarsEcho {
    TarsService(int port) {
      super(port);
    }

    @Override
    public CompletableFuture<byte[]> promise_echo(byte[] data) {
      throw new UnsupportedOperationException();
    }

    @Override
    public void async_echo(EchoCallback callback, byte[] data) {
      throw new UnsupportedOperationException();
    }

    @Override
    public void async_note(EchoCallback callback, String key) {
      throw new UnsupportedOperationException();
    }
  }

  private static String servant(Class<? extends Echo> service) {
    return "mosn.tars." + service.getSimpleName();
  }

  @Override
  public void serve(List<Integer> ports) throws IOException {
    ServerConfig config = new ServerConfig();
    config.setApplication("mosn").setServerName("peers").setLocalIP("127.0.0.1").setCharsetName("UTF-8");
    config.setServantAdapterConfMap(new LinkedHashMap<>());
    config.setTcpNoDelay(true);
    ConfigurationManager.getInstance().setServerConfig(config);
    Context context = new Context();
    AppContextManager.getInstance().setAppContext(context);
    for (int port : ports) {
      for (Class<? extends Echo> service : List.of(Echo.class, Slow.class)) {
        String name = servant(service);
        ServantHomeSkeleton skeleton =
            new ServantHomeSkeleton(name, new TarsService(port), TarsEcho.class, null, null, -1);
        skeleton.setAppContext(context);
        context.skeletons.put(name, skeleton);
        AnalystManager.getInstance().registry(name, TarsEcho.class, name);
        ServantAdapterConfig adapter = new ServantAdapterConfig();
        adapter.setServant(name).setThreads(64).setQueueCap(10_000).setQueueTimeout(60_000).setMaxConns(1_000);
        adapter.setProtocol("tars").setHandleGroup(name);
        adapter.setEndpoint(new Endpoint("tcp", "127.0.0.1", port, 60_000, 0, 0, null));
        config.getServantAdapterConfMap().put(name, adapter);
        if (service == Echo.class) {
          new ServantAdapter(adapter).bind(skeleton);
        }
      }
    }
  }

  private static final class Context implements AppContext {
    final Map<String, ServantHomeSkeleton> skeletons = new ConcurrentHashMap<>();

    @Override
    public String name() {
      return "";
    }

    @Override
    public void init() {}

    @Override
    public void stop() {}

    @Override
    public ServantHomeSkeleton getCapHomeSkeleton(String name) {
      return skeletons.get(name);
    }

    @Override
    public List<Filter> getFilters(FilterKind kind) {
      return new ArrayList<>();
    }

    @Override
    public void addFilter(FilterKind kind, Filter filter) {}
  }

  @Override
  public Caller connect(Target target, Class<? extends Echo> service, int timeout, boolean own) {
    String key = target + service.getName() + timeout;
    return own ? new TarsCaller(target, service, timeout) : shared.computeIfAbsent(key, k -> new TarsCaller(target, service, timeout));
  }

  /** TarsJava has one exception for all; what happened is in its text. */
  @Override
  public Kind kind(Throwable failure) {
    if (!(failure instanceof ClientException)) {
      return Kind.OTHER;
    }
    String text = String.valueOf(failure.getMessage());
    if (text.contains("the operation has timeout") || text.contains("error code -7|")) {
      return Kind.TIMEOUT;
    }
    if (text.contains("error code -4|") || text.contains("error code -8|")) {
      return Kind.NO_PROVIDER;
    }
    return text.contains("error code -99|") ? Kind.LOST : Kind.OTHER;
  }

  @Override
  public boolean refused(Throwable failure, String reason) {
    // Only a code crosses the wire.
    return failure instanceof ClientException && failure.getMessage().contains("error code -10|");
  }

  @Override
  public boolean noticesLoss() {
    return false;
  }

  private static final class TarsCaller implements Caller {
    private final TarsEcho echo;

    TarsCaller(Target target, Class<? extends Echo> service, int timeout) {
      CommunicatorConfig config = new CommunicatorConfig();
      // Communicators, and so connections, are told apart by their configuration.
      config.setModuleName("mosn.peers." + UUID.randomUUID());
      config.setConnections(1).setSyncInvokeTimeout(timeout).setAsyncInvokeTimeout(timeout).setConnectTimeout(1_000);
      Communicator communicator = CommunicatorFactory.getInstance().getCommunicator(config);
      String name = servant(service) + "@tcp -h 127.0.0.1 -p " + target.port() + " -t " + timeout;
      ServantProxyConfig proxy = new ServantProxyConfig(name);
      proxy.setSyncTimeout(timeout);
      proxy.setAsyncTimeout(timeout);
      echo = communicator.stringToProxy(TarsEcho.class, proxy);
    }

    @Override
    public Echo sync() {
      return (Echo)
          Proxy.newProxyInstance(
              Echo.class.getClassLoader(),
              new Class<?>[] {Echo.class},
              (proxy, method, arguments) -> {
                try {
                  return TarsEcho.class.getMethod(method.getName(), method.getParameterTypes()).invoke(echo, arguments);
                } catch (ReflectiveOperationException failure) {
                  throw Check.bare(failure);
                }
              });
    }

    @Override
    public CompletableFuture<byte[]> future(byte[] data) {
      return echo.promise_echo(data);
    }

    @Override
    public CompletableFuture<byte[]> callback(byte[] data) {
      EchoCallback callback = new EchoCallback();
      echo.async_echo(callback, data);
      return callback.answer;
    }

    @Override
    public void oneway(String key) {
      echo.async_note(null, key);
    }

    /** A communicator's end would stop the timers of all. */
    @Override
    public void close() {}
  }
}
