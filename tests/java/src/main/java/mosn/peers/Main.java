package mosn.peers;

import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import java.io.PrintStream;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import org.slf4j.LoggerFactory;

/** {@code serve STACK PORT...} is a server until it is killed; {@code drive STACK...} runs a {@link Driver}. */
public final class Main {
  /** Milliseconds of idleness after which clients and servers send a heartbeat. */
  static final int HEARTBEAT = 300;

  private Main() {}

  public static void main(String[] arguments) throws Exception {
    System.setProperty("bolt.tcp.heartbeat.interval", String.valueOf(HEARTBEAT));
    ((Logger) LoggerFactory.getLogger(Logger.ROOT_LOGGER_NAME)).setLevel(Level.OFF);
    // Libraries that print must not write between the answers.
    PrintStream out = System.out;
    System.setOut(System.err);
    switch (arguments[0]) {
      case "serve" -> {
        stack(arguments[1]).serve(Arrays.stream(arguments).skip(2).map(Integer::valueOf).toList());
        out.println("serving");
        Thread.currentThread().join();
      }
      case "drive" -> {
        Map<String, Stack> stacks = new LinkedHashMap<>();
        for (String name : Arrays.asList(arguments).subList(1, arguments.length)) {
          stacks.put(name, stack(name));
        }
        new Driver(stacks, out).drive();
        Runtime.getRuntime().halt(0);
      }
      default -> throw new IllegalArgumentException("serve or drive, not " + arguments[0]);
    }
  }

  private static Stack stack(String name) {
    return switch (name) {
      case "dubbo" -> new Dubbo();
      case "bolt" -> new Bolt(1, false);
      case "boltv2" -> new Bolt(2, false);
      case "boltv2-crc" -> new Bolt(2, true);
      case "sofarpc" -> new SofaRpc();
      case "tars" -> new Tars();
      default -> throw new IllegalArgumentException("no such stack: " + name);
    };
  }
}
