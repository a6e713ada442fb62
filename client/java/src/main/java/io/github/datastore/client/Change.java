package io.github.datastore.client;

import io.github.datastore.v1.EntryChange;
import java.util.Optional;

/**
 * One change of an entry.
 *
 * @param kind what happened
 * @param key the key
 * @param version the version of the change; later changes of the key have greater ones
 * @param value the new value; only of a put, and not in a keys-only watch
 */
public record Change(Kind kind, Key key, long version, Optional<Object> value) {
  /** What happened to an entry. */
  public enum Kind {
    /** It was created or replaced, also by a patch. */
    PUT,
    /** It was deleted. */
    DELETE,
    /** It expired. */
    EXPIRE
  }

  static Change received(EntryChange message) {
    Kind kind =
        switch (message.getKind()) {
          case KIND_PUT -> Kind.PUT;
          case KIND_DELETE -> Kind.DELETE;
          case KIND_EXPIRE -> Kind.EXPIRE;
          case KIND_UNSPECIFIED, UNRECOGNIZED ->
              throw Reason.CORRUPT_DATA.exception(
                  "a change is of a kind that this client does not know; list the entries again");
        };
    Optional<Object> value =
        message.hasValue()
            ? Optional.ofNullable(Values.decode(message.getValue()))
            : Optional.empty();
    return new Change(kind, Key.received(message.getKey()), message.getVersion(), value);
  }
}
