package mosn.peers;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/** The service, as the server at one port offers it. Stacks that carry attachments override {@link #attachment}. */
public class EchoService implements Slow {
  /** Shared by all ports of a server. */
  private static final Map<String, Integer> NOTES = new ConcurrentHashMap<>();

  private final int port;

  public EchoService(int port) {
    this.port = port;
  }

  @Override
  public byte[] echo(byte[] data) {
    return data;
  }

  @Override
  public byte[] make(int size) {
    return Data.of(size);
  }

  @Override
  public int size(byte[] data) {
    return data.length;
  }

  @Override
  public String sleep(int millis) {
    note("sleeping");
    try {
      Thread.sleep(millis);
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
    }
    return "slept";
  }

  @Override
  public void note(String key) {
    NOTES.merge(key, 1, Integer::sum);
  }

  @Override
  public int noted(String key) {
    return NOTES.getOrDefault(key, 0);
  }

  @Override
  public String fail(String reason) throws Refused {
    throw new Refused(reason);
  }

  @Override
  public int place() {
    return port;
  }

  @Override
  public String attachment(String name) {
    return null;
  }
}
