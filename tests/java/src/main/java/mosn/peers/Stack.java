package mosn.peers;

import java.util.List;
import java.util.Map;

/** One RPC stack: its server, its client, and how it says what went wrong. */
interface Stack {
  /** Serves at every port, and returns once they are bound. */
  void serve(List<Integer> ports) throws Exception;

  /**
   * A client of a service. Callers to one target share a connection unless they are to have their own; a call
   * may take `timeout` milliseconds.
   */
  Caller connect(Target target, Class<? extends Echo> service, int timeout, boolean own) throws Exception;

  /** What a failure, stripped of wrappers, says. */
  Kind kind(Throwable failure);

  /** Whether a server's exception reached the caller as it should in this stack. */
  boolean refused(Throwable failure, String reason);

  /** Whether a client learns soon that its connection is gone, and soon opens another. */
  default boolean noticesLoss() {
    return true;
  }

  /** Whether requests say on the wire how long the caller waits, which counts before a route's timeout. */
  default boolean tellsTimeout() {
    return false;
  }

  /** Cases that only this stack has. */
  default Map<String, Case> cases() {
    return Map.of();
  }

  /** What a stack's exception tells its user. */
  enum Kind {
    TIMEOUT,
    /** Nobody offers the service, or nobody is there. */
    NO_PROVIDER,
    /** The connection was lost with the call in flight. */
    LOST,
    OTHER
  }
}
