package mosn.peers;

import java.util.concurrent.CompletableFuture;

/** A client of one service, in each way that its stack can call. Failures are the stack's own. */
interface Caller extends AutoCloseable {
  Echo sync();

  CompletableFuture<byte[]> future(byte[] data);

  CompletableFuture<byte[]> callback(byte[] data);

  void oneway(String key);

  @Override
  default void close() {}
}
