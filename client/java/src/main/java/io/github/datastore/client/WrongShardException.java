package io.github.datastore.client;

/** The key belongs to another server; nothing was done. */
public final class WrongShardException extends DatastoreException {
  private static final long serialVersionUID = 1;

  WrongShardException(Reason reason, String message, Details details) {
    super(reason, message, details);
  }

  /**
   * The shard that owns the key.
   *
   * @return its name; empty if it is not known
   */
  public String owner() {
    return facts().text("owner");
  }

  /**
   * The placement epoch of the server that refused.
   *
   * @return 0 if it has no placement
   */
  public long epoch() {
    return facts().number("epoch");
  }
}
