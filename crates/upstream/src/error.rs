use mosn_config::model::Name;

/// Why a cluster cannot be built or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// A cluster has no name.
    #[error("a cluster has an empty name: give it one that routes can refer to")]
    NoName,
    /// Two clusters have the same name.
    #[error("cluster `{cluster}` is listed twice: names must be unique")]
    Duplicate {
        /// Their name.
        cluster: Name,
    },
    /// There is no cluster of this name.
    #[error("cluster `{cluster}` does not exist")]
    Unknown {
        /// The name.
        cluster: Name,
    },
    /// A host's address cannot be parsed.
    #[error(
        "cluster `{cluster}`: host address `{address}` is not valid: write `ip:port`, `[ipv6]:port`, \
         `name:port` or `unix:/path`"
    )]
    BadAddress {
        /// The cluster's name.
        cluster: Name,
        /// As written.
        address: Name,
    },
}
