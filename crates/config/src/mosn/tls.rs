use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::unset;
use crate::value::NoEffect;

/// TLS of a listener, a cluster, all clusters, or a tunnel agent (`tls_context`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct TlsContext {
    /// Whether TLS is on; without it the rest does not count. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub status: bool,
    /// A way of verifying: `sni_verify`, or the default one for any other name.
    #[serde(rename = "type")]
    #[serde(skip_serializing_if = "unset")]
    pub kind: String,
    /// Clients: the name that is asked for and verified. Servers: one more name to be chosen by.
    #[serde(skip_serializing_if = "unset")]
    pub server_name: String,
    /// Trusted authorities: PEM, or the path of a PEM file. Default: the system's.
    #[serde(skip_serializing_if = "unset")]
    pub ca_cert: String,
    /// Certificate chain: PEM, or a path; of the same kind as `private_key`.
    #[serde(skip_serializing_if = "unset")]
    pub cert_chain: String,
    /// Private key: PEM, or a path.
    #[serde(skip_serializing_if = "unset")]
    pub private_key: String,
    /// Servers: verifies a client's certificate if there is one. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub verify_client: bool,
    /// Servers: asks for a client's certificate; with `verify_client`, insists on it. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub require_client_cert: bool,
    /// Clients: verifies nothing. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub insecure_skip: bool,
    /// Cipher suites by MOSN's names, separated by `:`. Default: all.
    #[serde(skip_serializing_if = "unset")]
    pub cipher_suites: String,
    /// Curves: `x25519`, `p256`, `p384`, `p521`, separated by `,`. Default: all.
    #[serde(skip_serializing_if = "unset")]
    pub ecdh_curves: String,
    /// `tls_auto`, `tlsv1_0`, `tlsv1_1`, `tlsv1_2` or `tlsv1_3`.
    #[serde(skip_serializing_if = "unset")]
    pub min_version: String,
    /// As `min_version`.
    #[serde(skip_serializing_if = "unset")]
    pub max_version: String,
    /// Application protocols: `h2`, `http/1.1`, `sofa`, separated by `,`.
    #[serde(skip_serializing_if = "unset")]
    pub alpn: String,
    /// Does nothing in MOSN.
    #[serde(skip_serializing_if = "unset")]
    pub ticket: Option<NoEffect>,
    /// Speaks plain text where there is no certificate. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub fall_back: bool,
    /// Settings of `type`; `sni_verify` has `match_subject_alt_names`.
    #[serde(skip_serializing_if = "unset")]
    pub extend_verify: Option<Map<String, Value>>,
    /// Names of what to call when a secret arrives.
    #[serde(skip_serializing_if = "unset")]
    pub callbacks: Vec<String>,
    /// Certificates from an xDS server instead of files.
    #[serde(skip_serializing_if = "unset")]
    pub sds_source: Option<SdsSource>,
}

/// Where SDS secrets come from (`sds_source`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct SdsSource {
    /// The certificate and its key; required.
    #[serde(rename = "CertificateConfig")]
    pub certificate_config: Option<SdsSecret>,
    /// The trusted authorities.
    #[serde(rename = "ValidationConfig")]
    pub validation_config: Option<SdsSecret>,
}

/// One secret.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct SdsSecret {
    /// Its name.
    #[serde(skip_serializing_if = "unset")]
    pub name: String,
    /// Envoy's `ConfigSource`.
    #[serde(rename = "sdsConfig")]
    #[serde(skip_serializing_if = "unset")]
    pub sds_config: Option<Value>,
}
