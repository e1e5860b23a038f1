package mosn.peers;

import static mosn.peers.Check.equal;
import static mosn.peers.Check.eventually;
import static mosn.peers.Check.expect;
import static mosn.peers.Check.failing;
import static mosn.peers.Check.within;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.LongAccumulator;
import java.util.function.BooleanSupplier;
import java.util.function.Function;
import mosn.peers.Check.Failure;
import mosn.peers.Stack.Kind;

/** What holds in every stack. */
final class Cases {
  /** Milliseconds that a call may take when nothing is to go wrong: long, so that nothing passes for a quick failure. */
  static final int PATIENCE = 20_000;

  /** Milliseconds after which a failure was not "at once". */
  private static final int AT_ONCE = 2_000;

  private static final int MEGABYTE = 1 << 20;

  private Cases() {}

  static Map<String, Case> all(Driver driver) {
    Map<String, Case> cases = new LinkedHashMap<>();
    cases.put("sync", Cases::sync);
    cases.put("future", Cases::future);
    cases.put("callback", Cases::callback);
    cases.put("oneway", Cases::oneway);
    cases.put("exception keeps its class", Cases::exception);
    cases.put("1 MB each way", Cases::big);
    cases.put("concurrent calls on one connection", (stack, target) -> concurrent(stack, target, 1));
    cases.put("concurrent calls on four connections", (stack, target) -> concurrent(stack, target, 4));
    cases.put("idle connection stays", Cases::idle);
    cases.put("caller's timeout", Cases::timeout);
    cases.put("route's timeout", Cases::routeTimeout);
    cases.put("no route", Cases::noRoute);
    cases.put("no provider", Cases::noProvider);
    cases.put("provider killed and restarted", (stack, target) -> restart(driver, stack, target));
    return cases;
  }

  private static Caller caller(Stack stack, Target target) throws Exception {
    return stack.connect(target, Echo.class, PATIENCE, false);
  }

  private static String sync(Stack stack, Target target) throws Exception {
    Echo echo = caller(stack, target).sync();
    for (int size : new int[] {1, 0, 100, 255, 256, 300, 5_000, 70_000}) {
      equal(echo.echo(Data.of(size)), Data.of(size), "echo of " + size);
      equal(echo.size(Data.of(size)), size, "size of " + size);
    }
    return null;
  }

  private static String future(Stack stack, Target target) throws Exception {
    return asynchronous(caller(stack, target)::future);
  }

  private static String callback(Stack stack, Target target) throws Exception {
    return asynchronous(caller(stack, target)::callback);
  }

  private static String asynchronous(Function<byte[], CompletableFuture<byte[]>> call)
      throws Exception {
    List<CompletableFuture<byte[]>> answers = new ArrayList<>();
    for (int i = 0; i < 50; i++) {
      answers.add(call.apply(Data.of(i * 40, i)));
    }
    for (int i = 0; i < answers.size(); i++) {
      equal(answers.get(i).get(PATIENCE, TimeUnit.MILLISECONDS), Data.of(i * 40, i), "answer " + i);
    }
    return null;
  }

  private static String oneway(Stack stack, Target target) throws Exception {
    Caller caller = caller(stack, target);
    String key = UUID.randomUUID().toString();
    int calls = 20;
    for (int i = 0; i < calls; i++) {
      caller.oneway(key);
    }
    eventually(() -> caller.sync().noted(key) == calls, 5_000, calls + " one-way calls to arrive");
    // One that took the place of another call's answer would show here.
    sync(stack, target);
    equal(caller.sync().noted(key), calls, "one-way calls that arrived");
    return null;
  }

  private static String exception(Stack stack, Target target) throws Exception {
    Echo echo = caller(stack, target).sync();
    String reason = "no " + UUID.randomUUID();
    Failure failure = failing("a refusal", () -> echo.fail(reason));
    if (!stack.refused(failure.cause(), reason)) {
      throw new AssertionError("not the server's exception: " + failure, failure.cause());
    }
    within(failure.millis(), 0, AT_ONCE, "the refusal");
    return failure.cause().getClass().getSimpleName();
  }

  private static String big(Stack stack, Target target) throws Exception {
    Echo echo = caller(stack, target).sync();
    byte[] data = Data.of(MEGABYTE);
    for (int i = 0; i < 3; i++) {
      equal(echo.size(data), MEGABYTE, "size of what arrived");
      equal(echo.make(MEGABYTE), data, "what was made");
      equal(echo.echo(data), data, "echo");
    }
    return null;
  }

  private static String concurrent(Stack stack, Target target, int connections) throws Exception {
    int threads = 16;
    int calls = 150;
    List<Caller> callers = new ArrayList<>();
    for (int i = 0; i < connections; i++) {
      callers.add(stack.connect(target, Echo.class, PATIENCE, connections > 1));
    }
    ExecutorService pool = Executors.newFixedThreadPool(threads);
    LongAccumulator slowest = new LongAccumulator(Math::max, 0);
    long began = System.nanoTime();
    try {
      List<Future<?>> workers = new ArrayList<>();
      for (int t = 0; t < threads; t++) {
        Echo echo = callers.get(t % connections).sync();
        long seed = t;
        workers.add(
            pool.submit(
                () -> {
                  for (int i = 0; i < calls; i++) {
                    byte[] data = Data.of((int) ((i * 37 + seed * 101) % 3_000), seed << 32 | i);
                    long sent = System.nanoTime();
                    equal(echo.echo(data), data, "echo " + i + " of worker " + seed);
                    slowest.accumulate((System.nanoTime() - sent) / 1_000_000);
                  }
                  return null;
                }));
      }
      for (Future<?> worker : workers) {
        worker.get(60, TimeUnit.SECONDS);
      }
    } finally {
      pool.shutdownNow();
      if (connections > 1) {
        callers.forEach(Caller::close);
      }
    }
    expect(slowest.get() < 5_000, "a call stalled for " + slowest + " ms");
    long rate = (threads * calls * 1_000_000_000L) / (System.nanoTime() - began);
    return rate + " calls/s, the slowest " + slowest + " ms";
  }

  /**
   * Clients here send heartbeats after {@link Main#HEARTBEAT} idle milliseconds and close a connection that leaves three
   * unanswered, as do servers with clients that send none.
   */
  private static String idle(Stack stack, Target target) throws Exception {
    Echo echo = caller(stack, target).sync();
    echo.place();
    Set<Integer> before = Sockets.to(target.port());
    expect(!before.isEmpty(), "no connection to be idle");
    Thread.sleep(Main.HEARTBEAT * 8);
    Set<Integer> after = Sockets.to(target.port());
    expect(after.containsAll(before), "connections from " + before + " became " + after);
    long began = System.nanoTime();
    echo.place();
    within((System.nanoTime() - began) / 1_000_000, 0, AT_ONCE, "the first call after idleness");
    return before.size() + " connection(s)";
  }

  private static String timeout(Stack stack, Target target) throws Exception {
    int patience = 500;
    Echo hasty = stack.connect(target, Echo.class, patience, false).sync();
    for (int i = 0; i < 2; i++) {
      Failure failure = failing("a late call", () -> hasty.sleep(900));
      failure.is(stack, Kind.TIMEOUT, "a late call");
      within(failure.millis(), patience - 50, patience + 600, "its timeout");
    }
    // The late answers must meet no other call.
    Echo echo = caller(stack, target).sync();
    for (int i = 0; i < 20; i++) {
      equal(echo.echo(Data.of(50, i)), Data.of(50, i), "a call after it");
      Thread.sleep(40);
    }
    return null;
  }

  private static String routeTimeout(Stack stack, Target target) throws Exception {
    Echo slow = stack.connect(target, Slow.class, PATIENCE, false).sync();
    // The first call loads classes.
    eventually(succeeds(() -> slow.sleep(1)), 5_000, "a quick call to succeed");
    if (!target.proxied()) {
      return "no route, no timeout";
    }
    if (stack.tellsTimeout()) {
      equal(slow.sleep(800), "slept", "a call longer than its route allows, but not its caller");
      return "the caller's counts";
    }
    Failure failure = failing("a call longer than its route allows", () -> slow.sleep(3_000));
    failure.is(stack, Kind.TIMEOUT, "a call longer than its route allows");
    within(failure.millis(), 250, 1_500, "the timeout of 300 ms");
    equal(slow.sleep(1), "slept", "a quick call after it");
    return null;
  }

  private static String noRoute(Stack stack, Target target) throws Exception {
    return missing(stack, target, Nowhere.class);
  }

  private static String noProvider(Stack stack, Target target) throws Exception {
    return missing(stack, target, Dead.class);
  }

  private static String missing(Stack stack, Target target, Class<? extends Echo> service) throws Exception {
    if (!target.proxied()) {
      return "only proxies route";
    }
    Echo echo = stack.connect(target, service, PATIENCE, false).sync();
    Failure failure = null;
    for (int i = 0; i < 5; i++) {
      failure = failing("a call to nobody", echo::place);
      failure.is(stack, Kind.NO_PROVIDER, "a call to nobody");
      within(failure.millis(), 0, AT_ONCE, "its failure");
    }
    // The connection serves others as before.
    equal(caller(stack, target).sync().echo(Data.of(10)), Data.of(10), "a call after it");
    return failure.cause().getClass().getSimpleName();
  }

  private static String restart(Driver driver, Stack stack, Target target) throws Exception {
    if (!target.proxied() && !stack.noticesLoss()) {
      return "the client itself does not notice";
    }
    Caller caller = caller(stack, target);
    Echo echo = caller.sync();
    Set<Integer> before = Sockets.to(target.port());
    int calls = 8;
    int sleeping = echo.noted("sleeping");
    ExecutorService pool = Executors.newFixedThreadPool(calls);
    try {
      List<Future<Failure>> lost = new ArrayList<>();
      for (int i = 0; i < calls; i++) {
        lost.add(pool.submit(() -> failing("a call whose provider died", () -> echo.sleep(PATIENCE))));
      }
      eventually(() -> echo.noted("sleeping") == sleeping + calls, 5_000, "all calls to be in flight");
      driver.have("kill");
      long killed = System.nanoTime();
      for (Future<Failure> call : lost) {
        Failure failure = call.get(PATIENCE * 2, TimeUnit.MILLISECONDS);
        failure.is(stack, Kind.LOST, "a call whose provider died");
        within((System.nanoTime() - killed) / 1_000_000, 0, AT_ONCE, "the failure of calls in flight");
      }
      Failure refused = failing("a call while the provider is away", echo::place);
      expect(stack.kind(refused.cause()) != Kind.TIMEOUT, "a call while the provider is away: " + refused);
      within(refused.millis(), 0, 3_000, "a call while the provider is away");
    } finally {
      pool.shutdownNow();
      driver.have("start");
    }
    long started = System.nanoTime();
    eventually(succeeds(echo::place), 3_000, "a call to succeed after the restart");
    long waited = (System.nanoTime() - started) / 1_000_000;
    for (int i = 0; i < 50; i++) {
      equal(echo.echo(Data.of(i)), Data.of(i), "call " + i + " after the restart");
    }
    if (target.proxied()) {
      expect(Sockets.to(target.port()).containsAll(before), "the proxy closed the connections from " + before);
    }
    return "first success after " + waited + " ms";
  }

  private static BooleanSupplier succeeds(Callable<?> call) {
    return () -> {
      try {
        call.call();
        return true;
      } catch (Exception failure) {
        return false;
      }
    };
  }
}
