package io.github.datastore.client;

import io.grpc.Attributes;
import io.grpc.EquivalentAddressGroup;
import io.grpc.NameResolver;
import io.grpc.NameResolverProvider;
import io.grpc.NameResolverRegistry;
import io.grpc.Status;
import io.grpc.StatusOr;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.UnknownHostException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Executor;

/**
 * Gives gRPC the addresses of several servers, in their order: it connects to the first that it can
 * reach. Hosts are looked up again whenever it reconnects.
 */
final class AddressList extends NameResolver {
  private static final String SCHEME = "datastore";

  static {
    NameResolverRegistry.getDefaultRegistry().register(new Provider());
  }

  private final List<Target> targets;
  private final Executor executor;
  private Listener2 listener;

  private AddressList(List<Target> targets, Executor executor) {
    this.targets = targets;
    this.executor = executor;
  }

  /** The name of these servers, for gRPC. */
  static String nameOf(List<Target> targets) {
    return SCHEME
        + ":///"
        + String.join(",", targets.stream().map(Target::hostAndPort).toList())
            .replace("[", "%5B")
            .replace("]", "%5D");
  }

  @Override
  public String getServiceAuthority() {
    return targets.get(0).hostAndPort();
  }

  @Override
  public void start(Listener2 to) {
    listener = to;
    refresh();
  }

  @Override
  public void refresh() {
    executor.execute(this::resolve);
  }

  @Override
  public void shutdown() {}

  private void resolve() {
    List<EquivalentAddressGroup> found = new ArrayList<>();
    String unknown = "";
    for (Target target : targets) {
      try {
        Attributes authority =
            Attributes.newBuilder()
                .set(EquivalentAddressGroup.ATTR_AUTHORITY_OVERRIDE, target.hostAndPort())
                .build();
        for (InetAddress address : InetAddress.getAllByName(target.host())) {
          found.add(
              new EquivalentAddressGroup(new InetSocketAddress(address, target.port()), authority));
        }
      } catch (UnknownHostException error) {
        unknown = error.toString();
      }
    }
    StatusOr<List<EquivalentAddressGroup>> addresses =
        found.isEmpty()
            ? StatusOr.fromStatus(Status.UNAVAILABLE.withDescription(unknown))
            : StatusOr.fromValue(found);
    listener.onResult(ResolutionResult.newBuilder().setAddressesOrError(addresses).build());
  }

  private static final class Provider extends NameResolverProvider {
    @Override
    protected boolean isAvailable() {
      return true;
    }

    @Override
    protected int priority() {
      return 4;
    }

    @Override
    public String getDefaultScheme() {
      return SCHEME;
    }

    @Override
    public NameResolver newNameResolver(URI name, Args args) {
      if (!name.getScheme().equals(SCHEME)) {
        return null;
      }
      List<Target> targets = new ArrayList<>();
      for (String address : name.getPath().substring(1).split(",")) {
        targets.add(Target.of(address));
      }
      return new AddressList(targets, args.getOffloadExecutor());
    }
  }
}
