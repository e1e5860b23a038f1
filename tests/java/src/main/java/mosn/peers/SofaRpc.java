package mosn.peers;

import com.alipay.sofa.rpc.config.ConsumerConfig;
import com.alipay.sofa.rpc.config.ProviderConfig;
import com.alipay.sofa.rpc.config.ServerConfig;
import com.alipay.sofa.rpc.context.RpcInvokeContext;
import com.alipay.sofa.rpc.core.exception.SofaRpcException;
import com.alipay.sofa.rpc.core.exception.SofaTimeOutException;
import com.alipay.sofa.rpc.core.invoke.SofaResponseCallback;
import com.alipay.sofa.rpc.core.request.RequestBase;
import com.alipay.sofa.rpc.api.future.SofaResponseFuture;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;

/** SOFARPC by bolt, without a registry. */
final class SofaRpc implements Stack {
  private final Map<String, Caller> shared = new ConcurrentHashMap<>();

  @Override
  public void serve(List<Integer> ports) {
    for (int port : ports) {
      ServerConfig server = new ServerConfig().setProtocol("bolt").setHost("127.0.0.1").setPort(port).setDaemon(false);
      export(server, Echo.class, new EchoService(port));
      export(server, Slow.class, new EchoService(port));
    }
  }

  private static <T> void export(ServerConfig server, Class<T> type, T service) {
    new ProviderConfig<T>()
        .setInterfaceId(type.getName())
        .setRef(service)
        .setServer(server)
        .setRegister(false)
        .setRepeatedExportLimit(-1)
        .export();
  }

  @Override
  public Caller connect(Target target, Class<? extends Echo> service, int timeout, boolean own) {
    String key = target + service.getName() + timeout;
    return own
        ? new SofaCaller(target, service, timeout, own)
        : shared.computeIfAbsent(key, k -> new SofaCaller(target, service, timeout, own));
  }

  @Override
  public Kind kind(Throwable failure) {
    if (failure instanceof SofaTimeOutException) {
      return Kind.TIMEOUT;
    }
    return failure instanceof SofaRpcException && failure.getCause() != null ? Bolt.kindOf(failure.getCause()) : Kind.OTHER;
  }

  @Override
  public boolean refused(Throwable failure, String reason) {
    return failure instanceof Refused && reason.equals(failure.getMessage());
  }

  @Override
  public boolean tellsTimeout() {
    return true;
  }

  private static final class SofaCaller implements Caller {
    private final Echo sync;
    private final Echo future;
    private final Echo callback;
    private final Echo oneway;
    private final ThreadLocal<CompletableFuture<byte[]>> pending = new ThreadLocal<>();

    SofaCaller(Target target, Class<? extends Echo> service, int timeout, boolean own) {
      sync = refer(target, service, timeout, own, "sync");
      future = refer(target, service, timeout, own, "future");
      callback = refer(target, service, timeout, own, "callback");
      oneway = refer(target, service, timeout, own, "oneway");
    }

    private static <T extends Echo> T refer(Target target, Class<T> service, int timeout, boolean own, String way) {
      ConsumerConfig<T> consumer =
          new ConsumerConfig<T>()
              .setInterfaceId(service.getName())
              .setDirectUrl("bolt://" + target.address())
              .setProtocol("bolt")
              .setRegister(false)
              .setSubscribe(false)
              .setInvokeType(way)
              .setTimeout(timeout)
              .setConnectTimeout(1_000)
              .setReconnectPeriod(500)
              .setConnectionNum(own ? 4 : 1)
              .setRepeatedReferLimit(-1)
              .setRetries(0);
      return consumer.refer();
    }

    @Override
    public Echo sync() {
      return sync;
    }

    @Override
    public CompletableFuture<byte[]> future(byte[] data) {
      future.echo(data);
      var pending = SofaResponseFuture.getFuture(true);
      CompletableFuture<byte[]> answer = new CompletableFuture<>();
      CompletableFuture.runAsync(
          () -> {
            try {
              answer.complete((byte[]) pending.get());
            } catch (Exception failure) {
              answer.completeExceptionally(failure);
            }
          });
      return answer;
    }

    @Override
    public CompletableFuture<byte[]> callback(byte[] data) {
      CompletableFuture<byte[]> answer = new CompletableFuture<>();
      RpcInvokeContext.getContext()
          .setResponseCallback(
              new SofaResponseCallback<byte[]>() {
                @Override
                public void onAppResponse(Object value, String method, RequestBase request) {
                  answer.complete((byte[]) value);
                }

                @Override
                public void onAppException(Throwable failure, String method, RequestBase request) {
                  answer.completeExceptionally(failure);
                }

                @Override
                public void onSofaException(SofaRpcException failure, String method, RequestBase request) {
                  answer.completeExceptionally(failure);
                }
              });
      callback.echo(data);
      return answer;
    }

    @Override
    public void oneway(String key) {
      oneway.note(key);
    }
  }
}
