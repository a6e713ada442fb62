package io.github.datastore.client;

import io.github.datastore.v1.FieldChange;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;

/**
 * Changes parts of the value of an entry, which must be a map, in one atomic step: if a change does
 * not fit, none is made. An absent entry fails with {@link Reason#CONDITION_FAILED}, unless it is
 * {@link #orCreate}. Immutable: each method returns a patch with one part more.
 *
 * <pre>{@code
 * Patch.of(key).increment("elevation", 1).set("geo.lat", 46.5).remove("note")
 * }</pre>
 */
public final class Patch implements Write {
  private static final int MAX_CHANGES = 256;

  private final Key key;
  private List<FieldChange> changes = List.of();
  private boolean create;
  private boolean returnsValue;
  private Condition condition;
  private Expiry expiry;

  private Patch(Key key) {
    this.key = key;
  }

  private Patch(Patch other) {
    key = other.key;
    changes = other.changes;
    create = other.create;
    returnsValue = other.returnsValue;
    condition = other.condition;
    expiry = other.expiry;
  }

  /**
   * A patch that changes nothing yet.
   *
   * @param key the key of the entry
   * @return the patch
   */
  public static Patch of(Key key) {
    Objects.requireNonNull(key, "key");
    return new Patch(key);
  }

  /**
   * Stores a value in a member, and makes the maps on the way to it.
   *
   * @param path the path of the member
   * @param value its value
   * @return the patch
   */
  public Patch set(String path, Object value) {
    return with(change(path).setSet(Values.encode(value)));
  }

  /**
   * Adds a number to that in a member; a missing one is 0.
   *
   * @param path the path of the member
   * @param number a Long, a smaller integer, or a Double
   * @return the patch
   */
  public Patch increment(String path, Number number) {
    Objects.requireNonNull(number, "number");
    return with(change(path).setIncrement(Values.encode(number)));
  }

  /**
   * Appends values to the list in a member; a missing one is empty.
   *
   * @param path the path of the member
   * @param values the values
   * @return the patch
   */
  public Patch append(String path, List<?> values) {
    Objects.requireNonNull(values, "values");
    return with(change(path).setAppend(Values.encode(values).getListValue()));
  }

  /**
   * Removes a member, if there is one.
   *
   * @param path the path of the member
   * @return the patch
   */
  public Patch remove(String path) {
    return with(change(path).setRemove(FieldChange.Remove.getDefaultInstance()));
  }

  /**
   * Creates an absent entry, with the changes of an empty map.
   *
   * @return the patch
   */
  public Patch orCreate() {
    Patch patch = new Patch(this);
    patch.create = true;
    return patch;
  }

  /**
   * Asks for the new value.
   *
   * @return the patch
   */
  public Patch returningValue() {
    Patch patch = new Patch(this);
    patch.returnsValue = true;
    return patch;
  }

  /**
   * The same, only if a condition holds.
   *
   * @param condition what must hold
   * @return the patch
   */
  public Patch when(Condition condition) {
    Patch patch = new Patch(this);
    patch.condition = Objects.requireNonNull(condition, "condition");
    return patch;
  }

  /**
   * The same of an entry that expires; by default it does as before.
   *
   * @param expiry when it expires
   * @return the patch
   */
  public Patch expires(Expiry expiry) {
    Patch patch = new Patch(this);
    patch.expiry = Objects.requireNonNull(expiry, "expiry");
    return patch;
  }

  private static FieldChange.Builder change(String path) {
    return FieldChange.newBuilder().setFieldPath(Fields.checked(path, Reason.INVALID));
  }

  private Patch with(FieldChange.Builder change) {
    Patch patch = new Patch(this);
    patch.changes = new ArrayList<>(changes);
    patch.changes.add(change.build());
    return patch;
  }

  @Override
  public Key key() {
    return key;
  }

  boolean returnsValue() {
    return returnsValue;
  }

  private static DatastoreException invalid(String message) {
    return Reason.INVALID.exception(message, Details.NONE.with("field", "changes"));
  }

  Optional<Condition> condition() {
    return Optional.ofNullable(condition);
  }

  Optional<Expiry> expiry() {
    return Optional.ofNullable(expiry);
  }

  /**
   * The message of the patch. Throws INVALID for no changes, too many, and a path that is changed
   * twice.
   */
  io.github.datastore.v1.Patch message() {
    if (changes.isEmpty() || changes.size() > MAX_CHANGES) {
      throw invalid(
          "a patch has from 1 to %d changes, not %,d".formatted(MAX_CHANGES, changes.size()));
    }
    Set<String> paths = new HashSet<>();
    for (FieldChange change : changes) {
      if (!paths.add(change.getFieldPath())) {
        throw invalid("a patch changes %s twice".formatted(change.getFieldPath()));
      }
    }
    for (String path : paths) {
      for (int dot = path.indexOf('.'); dot >= 0; dot = path.indexOf('.', dot + 1)) {
        if (paths.contains(path.substring(0, dot))) {
          throw invalid(
              "a patch changes %s twice, also as %s".formatted(path, path.substring(0, dot)));
        }
      }
    }
    return unchecked();
  }

  private io.github.datastore.v1.Patch unchecked() {
    return io.github.datastore.v1.Patch.newBuilder()
        .setKey(key.message())
        .addAllChanges(changes)
        .setCreate(create)
        .build();
  }

  /** The changes, and on what condition they are made. */
  @Override
  public String toString() {
    String when = condition == null ? "" : " when " + condition;
    String expires = expiry == null ? "" : " expires " + expiry;
    return OneLine.of("Patch", unchecked()) + when + expires;
  }
}
