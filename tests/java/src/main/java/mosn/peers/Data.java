package mosn.peers;

/** Bytes that tell whether they arrived whole and in order. */
final class Data {
  private Data() {}

  static byte[] of(int size) {
    return of(size, 0);
  }

  static byte[] of(int size, long seed) {
    byte[] data = new byte[size];
    long state = seed * 0x9E3779B97F4A7C15L + 1;
    for (int i = 0; i < size; i++) {
      state = state * 6364136223846793005L + 1442695040888963407L;
      data[i] = (byte) (state >>> 56);
    }
    return data;
  }
}
