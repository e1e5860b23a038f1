package mosn.peers;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Set;
import java.util.TreeSet;

/** Open connections, as the kernel tells them. */
final class Sockets {
  private static final String ESTABLISHED = "01";

  private Sockets() {}

  /** Local ports of the connections that anybody here has to the port. */
  static Set<Integer> to(int port) throws IOException {
    Set<Integer> found = new TreeSet<>();
    for (String line : Files.readAllLines(Path.of("/proc/net/tcp"))) {
      String[] fields = line.trim().split("\\s+");
      if (!fields[0].equals("sl") && fields[3].equals(ESTABLISHED) && port(fields[2]) == port) {
        found.add(port(fields[1]));
      }
    }
    return found;
  }

  private static int port(String address) {
    return Integer.parseInt(address.substring(address.indexOf(':') + 1), 16);
  }
}
