package mosn.peers;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.UndeclaredThrowableException;
import java.util.Arrays;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.function.BooleanSupplier;

/** What cases check with. */
final class Check {
  private Check() {}

  static void expect(boolean right, String text) {
    if (!right) {
      throw new AssertionError(text);
    }
  }

  static void equal(Object seen, Object right, String what) {
    expect(Objects.equals(seen, right), what + ": " + seen + ", not " + right);
  }

  static void equal(byte[] seen, byte[] right, String what) {
    if (!Arrays.equals(seen, right)) {
      int at = seen == null ? -1 : Arrays.mismatch(seen, right);
      throw new AssertionError(
          what + ": " + (seen == null ? "null" : seen.length + " bytes") + " that differ at " + at + " from " + right.length);
    }
  }

  static void within(long millis, long least, long most, String what) {
    expect(millis >= least && millis <= most, what + " took " + millis + " ms, not " + least + " to " + most);
  }

  static void eventually(BooleanSupplier condition, int millis, String what) throws InterruptedException {
    long end = System.nanoTime() + millis * 1_000_000L;
    while (!condition.getAsBoolean()) {
      expect(System.nanoTime() < end, "gave up after " + millis + " ms waiting for " + what);
      Thread.sleep(10);
    }
  }

  /** Makes a call that must fail. */
  static Failure failing(String what, Callable<?> call) {
    long began = System.nanoTime();
    Object value;
    try {
      value = call.call();
    } catch (Throwable failure) {
      return new Failure(bare(failure), (System.nanoTime() - began) / 1_000_000);
    }
    throw new AssertionError(what + " did not fail but returned " + value);
  }

  /** A failure without what reflection and futures wrap around it. */
  static Throwable bare(Throwable failure) {
    while (failure.getCause() != null
        && (failure instanceof ExecutionException
            || failure instanceof CompletionException
            || failure instanceof UndeclaredThrowableException
            || failure instanceof InvocationTargetException)) {
      failure = failure.getCause();
    }
    return failure;
  }

  /** A failed call, and how long it took. */
  record Failure(Throwable cause, long millis) {
    void is(Stack stack, Stack.Kind kind, String what) {
      if (stack.kind(cause) != kind) {
        throw new AssertionError(what + ": " + this + ", not " + kind, cause);
      }
    }

    @Override
    public String toString() {
      String text = String.valueOf(cause).replaceAll("\\s+", " ");
      return (text.length() > 900 ? text.substring(0, 900) + "..." : text) + " after " + millis + " ms";
    }
  }
}
