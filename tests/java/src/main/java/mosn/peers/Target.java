package mosn.peers;

/** Where calls go: a server's own port, or a proxy's. */
record Target(int port, boolean proxied) {
  String address() {
    return "127.0.0.1:" + port;
  }
}
