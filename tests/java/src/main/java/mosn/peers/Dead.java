package mosn.peers;

/** A service that a proxy routes to a host where nobody listens. */
public interface Dead extends Echo {}
