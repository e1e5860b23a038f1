//! Clusters, hosts, balancers and breakers.
