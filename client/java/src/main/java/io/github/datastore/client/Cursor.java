package io.github.datastore.client;

import java.lang.ref.Cleaner;
import java.time.Duration;
import java.util.Collections;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.Spliterator;
import java.util.Spliterators;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;

/**
 * What a server streams, one by one, for one thread and to be read once. It is read as fast as it
 * is taken: about two messages wait ahead of the reader. A stream that is cut off continues where
 * it was. Close it, also before its end, which ends the call; {@link #hasNext} throws a {@link
 * DatastoreException} if results are missing.
 *
 * <pre>{@code
 * try (QueryCursor cursor = client.query(query)) {
 *   for (Entry entry : cursor) { ... }
 * }
 * }</pre>
 *
 * @param <T> what is streamed
 */
public abstract class Cursor<T> implements Iterator<T>, Iterable<T>, AutoCloseable {
  private static final Cleaner CLEANER = Cleaner.create();

  private Iterator<T> some = Collections.emptyIterator();
  private boolean hasEnded;
  private Cleaner.Cleanable call = () -> {};
  private DatastoreException failure;

  final Connection connection;
  RetryPolicy policy;

  Cursor(Connection connection, RetryPolicy policy) {
    this.connection = connection;
    this.policy = policy;
  }

  /** The next items, which may be none; null at the end. */
  abstract Iterator<T> more();

  /**
   * Waits before the next call after one ended with an error, if there may be one; throws the error
   * otherwise. One that has a token continues from there if {@code mayContinue}; another is begun
   * again like any read.
   */
  void again(DatastoreException error, boolean hasToken, boolean mayContinue) {
    end();
    Optional<Duration> backoff = Optional.empty();
    if (!hasToken) {
      backoff = connection.backoff(error, policy, Repeats.IF_SAFE);
    } else if (mayContinue) {
      backoff = policy.backoff(error);
    }
    connection.pause(backoff.orElseThrow(() -> error));
  }

  static boolean isCut(DatastoreException error) {
    return error.reason() == Reason.UNAVAILABLE || error.reason() == Reason.OVERLOADED;
  }

  /** Ends the call, also if the cursor is forgotten without being closed. */
  <S extends MessageStream<?, ?>> S held(S stream) {
    call = CLEANER.register(this, stream::close);
    return stream;
  }

  void end() {
    call.clean();
  }

  @Override
  public boolean hasNext() {
    while (!some.hasNext()) {
      if (hasEnded) {
        return false;
      }
      some = some();
    }
    return true;
  }

  private Iterator<T> some() {
    if (failure != null) {
      throw failure;
    }
    try {
      Iterator<T> next = more();
      if (next != null) {
        return next;
      }
    } catch (DatastoreException error) {
      failure = error;
      end();
      throw error;
    }
    close();
    return Collections.emptyIterator();
  }

  @Override
  public T next() {
    if (!hasNext()) {
      throw new NoSuchElementException();
    }
    return some.next();
  }

  /** This cursor, for a loop. */
  @Override
  public Iterator<T> iterator() {
    return this;
  }

  /**
   * The rest as a stream, which closes the cursor when it is closed.
   *
   * @return the stream
   */
  public Stream<T> stream() {
    int characteristics = Spliterator.ORDERED | Spliterator.NONNULL;
    return StreamSupport.stream(Spliterators.spliteratorUnknownSize(this, characteristics), false)
        .onClose(this::close);
  }

  /** Ends the call. May be repeated. */
  @Override
  public void close() {
    hasEnded = true;
    some = Collections.emptyIterator();
    end();
  }
}
