package mosn.peers;

/** What every server offers; the interfaces that extend it are services that proxies route in other ways. */
public interface Echo {
  byte[] echo(byte[] data);

  /** As many bytes as asked for, by {@link Data#of}. */
  byte[] make(int size);

  int size(byte[] data);

  /** Answers after the time, in milliseconds. */
  String sleep(int millis);

  /** Remembers the key; callers that want no answer use this. */
  void note(String key);

  /** How often the key was noted. */
  int noted(String key);

  String fail(String reason) throws Refused;

  /** The port on which the call arrived. */
  int place();

  /** What came along with the call beside its arguments. */
  String attachment(String name);
}
