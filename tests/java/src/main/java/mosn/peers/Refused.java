package mosn.peers;

/** A server's own exception, which is to reach the caller with its class. */
public class Refused extends Exception {
  public Refused(String message) {
    super(message);
  }
}
