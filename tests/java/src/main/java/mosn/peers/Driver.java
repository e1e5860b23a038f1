package mosn.peers;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.util.Map;

/**
 * Runs cases as it is told by lines on its input: {@code run STACK PORT direct|proxied|bound CASE}. Each is answered by a line
 * {@code ok DETAIL} or {@code FAIL REASON}; a case that needs its server killed or started says {@code do kill} or
 * {@code do start} in between and waits for the line {@code done}. First of all it lists {@code case STACK NAME}, then says
 * {@code ready}.
 */
final class Driver {
  private final Map<String, Stack> stacks;
  private final BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
  private final PrintStream out;

  Driver(Map<String, Stack> stacks, PrintStream out) {
    this.stacks = stacks;
    this.out = out;
  }

  void drive() throws IOException {
    for (String name : stacks.keySet()) {
      for (String title : casesOf(name).keySet()) {
        out.println("case " + name + " " + title);
      }
    }
    out.println("ready");
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      String[] words = line.split(" ", 5);
      if (words.length != 5 || !words[0].equals("run")) {
        out.println("FAIL not a command: " + line);
        continue;
      }
      Target target = new Target(Integer.parseInt(words[2]), words[3]);
      out.println(run(words[1], target, words[4]));
    }
  }

  private String run(String name, Target target, String title) {
    try {
      String detail = casesOf(name).get(title).run(stacks.get(name), target);
      return detail == null ? "ok" : "ok " + detail;
    } catch (Throwable failure) {
      StringWriter trace = new StringWriter();
      failure.printStackTrace(new PrintWriter(trace));
      System.err.println(name + ": " + title + ": " + trace);
      return "FAIL " + String.valueOf(Check.bare(failure)).replaceAll("\\s+", " ");
    }
  }

  private Map<String, Case> casesOf(String name) {
    Map<String, Case> cases = Cases.all(this);
    cases.putAll(stacks.get(name).cases());
    return cases;
  }

  /** Has the server killed or started, and waits until it is. */
  void have(String what) throws IOException {
    out.println("do " + what);
    String answer = in.readLine();
    Check.equal(answer, "done", "answer to " + what);
  }
}
