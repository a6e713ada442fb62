package io.github.datastore.client;

import java.util.List;

/**
 * Changes that belong together, in order, and the token from which a watch continues after them.
 *
 * @param changes the changes; none in a heartbeat, whose token may have moved on
 * @param token opaque; valid for the same query, also after restarts
 * @param isCaughtUp whether the initial listing is complete with these changes
 */
public record ChangeBatch(List<Change> changes, byte[] token, boolean isCaughtUp) {}
