package io.github.datastore.client;

import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/** How a client connects, as data; {@link ClientBuilder} makes and checks it. */
record Settings(
    List<Target> targets,
    Optional<Path> ca,
    Optional<Path> certificate,
    Optional<Path> privateKey,
    Optional<String> token,
    Duration timeout,
    Duration queryTimeout,
    boolean retry,
    boolean retryWrites) {}
