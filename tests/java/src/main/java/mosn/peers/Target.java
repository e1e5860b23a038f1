package mosn.peers;

/** Where calls go: a server's own port, or a proxy's, which may give each client an upstream connection of its own. */
record Target(int port, boolean proxied, boolean bound) {
  Target(int port, String way) {
    this(port, !way.equals("direct"), way.equals("bound"));
  }

  String address() {
    return "127.0.0.1:" + port;
  }
}
