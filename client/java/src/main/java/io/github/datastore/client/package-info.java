/**
 * A client of datastore servers, nodes and proxies, over gRPC. Begin with {@link
 * io.github.datastore.client.Client#connect}.
 */
package io.github.datastore.client;
