package mosn.peers;

/** A service that no server offers and no proxy routes. */
public interface Nowhere extends Echo {}
