/// A query that `config_dump` does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DumpError {
    /// More than one parameter.
    #[error("only support one parameter")]
    TooManyParameters,
    /// A parameter that is none of those there are.
    #[error("unknown parameter {0:?}")]
    UnknownParameter(String),
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum What {
    All,
    Base,
    Routers,
    Clusters,
    Listeners,
    Router(String),
    Cluster(String),
    Listener(String),
}

pub(super) fn parse(query: &str) -> Result<What, DumpError> {
    let mut given: Option<(String, String)> = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (unescape(key), unescape(value));
        match &given {
            // The first value of a repeated parameter counts.
            Some((known, _)) if *known == key => {}
            Some(_) => return Err(DumpError::TooManyParameters),
            None => given = Some((key, value)),
        }
    }
    let Some((key, value)) = given else { return Ok(What::All) };
    Ok(match key.as_str() {
        "mosnconfig" => What::Base,
        "allrouters" => What::Routers,
        "allclusters" => What::Clusters,
        "alllisteners" => What::Listeners,
        "router" => What::Router(value),
        "cluster" => What::Cluster(value),
        "listener" => What::Listener(value),
        _ => return Err(DumpError::UnknownParameter(key)),
    })
}

/// Undoes percent-encoding; what is not well formed stays as it is.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let decoded = match (first, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        bytes.push(match (decoded, first) {
            (Some(byte), _) => byte,
            (None, b'+') => b' ',
            (None, other) => *other,
        });
        rest = if decoded.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_known_parameter_at_most() {
        for (query, what) in [
            ("", What::All),
            ("&", What::All),
            ("mosnconfig", What::Base),
            ("allclusters=", What::Clusters),
            ("cluster=a%2Fb+c%zz", What::Cluster("a/b c%zz".to_owned())),
            ("listener=0.0.0.0:2045", What::Listener("0.0.0.0:2045".to_owned())),
            ("router=a&router=b", What::Router("a".to_owned())),
        ] {
            assert_eq!(parse(query), Ok(what), "{query}");
        }
        assert_eq!(parse("cluster=a&router=b"), Err(DumpError::TooManyParameters));
        assert_eq!(parse("a=1"), Err(DumpError::UnknownParameter("a".to_owned())));
    }
}
