package mosn.peers;

/** A service that a proxy routes with a timeout far shorter than the caller's. */
public interface Slow extends Echo {}
