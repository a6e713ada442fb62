package io.github.datastore.client;

import java.util.Collections;
import java.util.Iterator;
import java.util.NoSuchElementException;
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
  private Iterator<T> some = Collections.emptyIterator();
  private boolean hasEnded;
  private DatastoreException failure;

  Cursor() {}

  /** The next items, which may be none; null at the end. */
  abstract Iterator<T> more();

  abstract void end();

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
