use std::{borrow::Cow, cell::RefCell, net::Ipv4Addr};

use crate::{Attribute, Attributes, CompileError, Effect, EvaluateError, Expression, Map, Type, Value};

/// `GET /url?a=1&b=x%20y` for `test.local`, with a header or two.
#[derive(Default)]
struct Request {
    changes: RefCell<Vec<String>>,
}

impl Attributes for Request {
    fn get(&self, attribute: Attribute) -> Option<Value<'_>> {
        Some(match attribute {
            Attribute::RequestHost => "test.local".into(),
            Attribute::RequestPath => "/url".into(),
            Attribute::RequestMethod => "GET".into(),
            Attribute::RequestSize => Value::Int(200),
            Attribute::RequestTime => Value::Timestamp("2015-01-02T15:04:05.678Z".parse().unwrap()),
            Attribute::ResponseDuration => Value::Duration(1_500_000_000),
            Attribute::OriginIp => Value::Ip(Some(Ipv4Addr::new(10, 10, 10, 10).into())),
            _ => return None,
        })
    }

    fn entry(&self, map: Attribute, key: &str) -> Option<Cow<'_, [u8]>> {
        let value: &[u8] = match (map, key) {
            (Attribute::RequestHeaders, "times") => b"10",
            (Attribute::RequestHeaders, "app") => b"shop",
            (Attribute::RequestQueryParams, "a") => b"1",
            _ => return None,
        };
        Some(Cow::Borrowed(value))
    }

    fn entries(&self, map: Attribute) -> Option<usize> {
        match map {
            Attribute::RequestHeaders => Some(2),
            Attribute::RequestQueryParams => Some(1),
            _ => None,
        }
    }

    fn change(&self, effect: Effect<'_>) -> bool {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let change = match effect {
            Effect::RewriteUrl(url) => format!("url {}", text(url)),
            Effect::SetRequestHeader(name, value) => format!("{}: {}", text(name), text(value)),
            Effect::RemoveRequestHeader(name) => format!("no {}", text(name)),
            Effect::SetResponseHeader(..) | Effect::RemoveResponseHeader(_) => return false,
        };
        self.changes.borrow_mut().push(change);
        true
    }
}

/// The value as text, or the error.
fn value(text: &str) -> String {
    let expression = match Expression::compile(text) {
        Ok(expression) => expression,
        Err(error) => return error.to_string(),
    };
    let request = Request::default();
    match expression.evaluate(&request) {
        Ok(Value::String(text)) => format!("{:?}", String::from_utf8_lossy(&text)),
        Ok(Value::Bool(value)) => value.to_string(),
        Ok(Value::Int(number)) => number.to_string(),
        Ok(Value::Double(number)) => format!("{number:?}"),
        Ok(Value::Duration(nanos)) => format!("{nanos}ns"),
        Ok(Value::Timestamp(at)) => at.to_string(),
        Ok(Value::Ip(ip)) => format!("{ip:?}"),
        Ok(other) => format!("{other:?}"),
        Err(error) => error.to_string(),
    }
}

fn table(rows: &[(&str, &str)]) {
    for (text, expected) in rows {
        assert_eq!(value(text), *expected, "{text}");
    }
}

#[test]
fn literals_are_themselves() {
    table(&[
        ("true", "true"),
        ("200", "200"),
        ("-0x10", "-16"),
        ("1.5", "1.5"),
        (r#""hello world""#, r#""hello world""#),
        (r#""1s""#, "1000000000ns"),
        (r#""0""#, "0ns"),
        ("emptyStringMap()", "Map(Empty)"),
    ]);
}

#[test]
fn attributes_have_the_requests_values_and_else_their_types_zero() {
    table(&[
        ("request.host + request.path", r#""test.local/url""#),
        (r#"request.method == "GET""#, "true"),
        ("request.size", "200"),
        ("request.url_path", r#""""#),
        ("response.code", "0"),
        ("destination.ip", "None"),
        (r#"request.headers["app"]"#, r#""shop""#),
        (r#"int(request.headers["times"]) > 9 && request.query_params["a"] == "1""#, "true"),
        (r#"request.headers["none"]"#, "there is no such key"),
        (r#"source.labels["none"]"#, "there is no such key"),
        ("size(request.headers)", "2"),
        ("size(source.labels)", "0"),
        ("has(request.host) && !has(request.url_path)", "true"),
    ]);
}

#[test]
fn the_bar_picks_the_first_that_is_there() {
    table(&[
        (r#"request.headers["t"] | source.labels["t"]"#, "there is no such key"),
        (r#"request.headers["t"] | source.labels["t"] | "unknown""#, r#""unknown""#),
        (r#"source.labels["app"] | request.headers["app"] | "unknown""#, r#""shop""#),
        (r#"request.url_path | request.path"#, r#""/url""#),
        (r#"request.url_path | "x" == "x""#, "true"),
        (r#"toLower(request.url_path) | "x""#, r#""""#),
        (r#"(request.url_path | request.api_key) | "x""#, r#""""#),
        (r#"int(response.duration | "0") / int("1ms")"#, "1500"),
        ("source.labels | emptyStringMap()", "Map(Empty)"),
        ("pick(source.name, request.host)", r#""test.local""#),
    ]);
    assert_eq!(
        Expression::compile("request.headers | emptyStringMap()").unwrap().evaluate(&Request::default()),
        Ok(Value::Map(Map::Attribute(Attribute::RequestHeaders)))
    );
}

#[test]
fn texts_have_functions() {
    table(&[
        (r#"match(request.host, "*.local")"#, "true"),
        (r#"request.host.match("test.*")"#, "true"),
        (r#"match(request.host, "test*local")"#, "false"),
        (r#"match(request.host, "test.local")"#, "true"),
        (r#""^test".matches(request.host)"#, "true"),
        (r#"matches("test|local", request.host)"#, "true"),
        (r#"request.host.matches("^test")"#, "false"),
        (r#""/users/{id}$".matches("/users/{id}")"#, "true"),
        (
            r#"request.host.startsWith("test.") && request.host.endsWith(".local") && request.host.contains("t.l")"#,
            "true",
        ),
        (r#""hello".reverse()"#, r#""olleh""#),
        (r#"toLower("User-Agent") + toUpper("é")"#, r#""user-agentÉ""#),
        (r#"size("äöü") + size(request.path)"#, "7"),
        (r#"conditional((request.path | "/") == "/url", "200", "404")"#, r#""200""#),
        (r#"conditionalString(request.path == "/x", "200", "404")"#, r#""404""#),
        (r#""a,b,c".split(",")[1]"#, r#""b""#),
        (r#""a,b,c".split(",", 2)[1]"#, r#""b,c""#),
        (r#""a".split(",")[1]"#, "there is no such place"),
        (r#"size("abc".split(""))"#, "3"),
        (r#""hällo".charAt(1) + "a".charAt(1)"#, r#""ä""#),
        (r#""a".charAt(2)"#, "there is no such place"),
        (r#""hällo".indexOf("l") + "hällo".indexOf("l", 3) + "x".indexOf("y")"#, "4"),
        (r#""hällo".lastIndexOf("l") + "hällo".lastIndexOf("l", 2)"#, "5"),
        (r#""aaa".replace("a", "b") + "aaa".replace("a", "b", 1)"#, r#""bbbbaa""#),
        (r#""hällo".substring(1, 3) + "hällo".substring(4)"#, r#""älo""#),
        (r#""a".substring(1, 0)"#, "there is no such place"),
        (r#""  a ".trim()"#, r#""a""#),
    ]);
}

#[test]
fn types_convert_and_say_where_they_cannot() {
    table(&[
        (r#"bool("T") && !bool("FALSE")"#, "true"),
        (r#"bool("x")"#, "the text cannot be converted"),
        (r#"int("10") + int(2.5) + int(-1)"#, "12"),
        (r#"int("10.0")"#, "the text cannot be converted"),
        ("int(1e300)", "the number is too large"),
        (r#"double("10.1") + double(2)"#, "12.1"),
        ("string(true) + string(10) + string(10.0) + string(10.1)", r#""true101010.1""#),
        (r#"string(duration("90s")) + string("1500ms")"#, r#""90s1.5s""#),
        (r#"string(request.time)"#, r#""2015-01-02T15:04:05.678Z""#),
        ("int(request.time)", "1420211045"),
        (r#"string(origin.ip) + string(ip("x"))"#, r#""10.10.10.10<nil>""#),
        (r#"string(uri("HTTPS://a/B"))"#, r#""https://a/B""#),
    ]);
}

#[test]
fn moments_have_parts_in_any_zone() {
    table(&[
        (
            "request.time.getFullYear() * 10000 + request.time.getMonth() * 100 + request.time.getDate()",
            "20150002",
        ),
        (
            "request.time.getDayOfWeek() * 100 + request.time.getDayOfYear() * 10 + request.time.getDayOfMonth()",
            "511",
        ),
        ("request.time.getHours() * 100 + request.time.getMinutes()", "1504"),
        ("request.time.getSeconds() * 1000 + request.time.getMilliseconds()", "5678"),
        (r#"request.time.getHours("+02:30") * 100 + request.time.getMinutes("+02:30")"#, "1734"),
        (r#"request.time.getHours("-08:00")"#, "7"),
        (r#"request.time.getHours("nowhere")"#, "the text cannot be converted"),
        (r#"duration("90m").getHours() + duration("90m").getMinutes()"#, "91"),
        (r#"request.time + "1h" > timestamp("2015-01-02T16:00:00Z")"#, "true"),
        (r#"request.time - timestamp("2015-01-02T15:04:05Z") == "678ms""#, "true"),
        (r#"timestamp("soon")"#, "the text cannot be converted"),
    ]);
}

#[test]
fn addresses_and_names_compare_by_what_they_mean() {
    table(&[
        (r#"origin.ip == ip("::ffff:10.10.10.10")"#, "true"),
        (r#"origin.ip != ip("1.1.1.1")"#, "true"),
        (r#"email("Me <a@Test.local>") == email("a@test.LOCAL")"#, "true"),
        (r#"email("A@test.local") == email("a@test.local")"#, "false"),
        (r#"email("nobody")"#, "the text cannot be converted"),
        (r#"dnsName(request.host) == dnsName("TEST.local")"#, "true"),
        (r#"dnsName("test..local")"#, "the text cannot be converted"),
        (r#"uri("HTTP://a.com:80/X") == uri("http://A.com:80/X")"#, "true"),
        (r#"uri("http://a.com/X") == uri("http://a.com/x")"#, "false"),
        (r#"uri("%zz")"#, "the text cannot be converted"),
    ]);
}

#[test]
fn numbers_never_overflow_and_nothing_is_divided_by_zero() {
    table(&[
        ("9223372036854775807 + 1", "the number is too large"),
        ("1 / 0", "division by 0"),
        ("1 % (request.size - 200)", "division by 0"),
        ("7 % 4 * 2 - 1", "5"),
        ("-7 / 2", "-3"),
        ("1.0 / 0.0 > 1.0", "true"),
    ]);
}

#[test]
fn one_side_of_a_condition_can_decide_it_alone() {
    table(&[
        (r#"false && request.headers["none"] == "a""#, "false"),
        (r#"request.headers["none"] == "a" && false"#, "false"),
        (r#"request.headers["none"] == "a" || true"#, "true"),
        (r#"request.headers["none"] == "a" || false"#, "there is no such key"),
        ("!(1 < 2) || 2 >= 2 && 1 != 2", "true"),
    ]);
}

#[test]
fn what_can_never_have_a_value_does_not_compile() {
    table(&[
        (r#"request.size == "200""#, "at column 14: the operator does not take an integer and a text"),
        (
            r#"request.headers["a"] == "1s""#,
            "at column 22: the operator does not take a text and a duration (a text such as \"1s\" is read as a duration)",
        ),
        ("request.headers == request.headers", "at column 17: the operator does not take a map and a map"),
        ("request.nope", "at column 1: there is no attribute request.nope"),
        ("request", "at column 1: request is no attribute, but request.headers is one"),
        ("nope(1)", "at column 1: there is no function nope"),
        ("int(true)", "at column 1: the function int does not take (a truth value)"),
        (r#"startsWith("a", "b")"#, "at column 1: the function startsWith does not take (a text, a text)"),
        ("ctx.emptyStringMap()", "at column 1: the method emptyStringMap does not take (the context)"),
        ("1 && true", "at column 1: expected a truth value, found an integer"),
        ("request.host[0]", "at column 1: expected a map, found a text"),
        (r#"request.host | 1"#, "at column 1: both sides of | must be alike: a text and an integer"),
        (r#""(".matches(request.host)"#, "at column 1: \"(\" is not a regular expression: unclosed group"),
        ("1.0 % 2.0", "at column 5: the operator does not take a floating number and a floating number"),
        ("f(1).x", "at column 1: only attributes have parts"),
        ("!1", "at column 2: expected a truth value, found an integer"),
    ]);
}

#[test]
fn changes_are_made_in_order_and_known_beforehand() {
    let expression = Expression::compile(
        r#"ctx.rewrite_request_url("/dsl") && add_request_header(ctx, "k", request.host) && ctx.del_request_header("x")
           && !ctx.add_response_header("k", "v") && !del_response_header(ctx, "k")"#,
    )
    .unwrap();
    assert!(expression.changes() && expression.kind() == Type::Bool);
    let request = Request::default();
    assert!(expression.holds(&request));
    assert_eq!(*request.changes.borrow(), ["url /dsl", "k: test.local", "no x"]);
    assert!(!Expression::compile("true").unwrap().changes());
}

#[test]
fn a_pattern_from_the_request_is_compiled_if_it_is_short() {
    let of = |text: &str| Expression::compile(text).unwrap().evaluate(&Request::default()).map(|_| ());
    assert_eq!(of(r#"request.host.matches("x")"#), Ok(()));
    assert_eq!(of(r#"(request.host + "(").matches("x")"#), Err(EvaluateError::Pattern));
    let long = "a".repeat(300);
    assert_eq!(of(&format!(r#"(request.host + "{long}").matches("x")"#)), Err(EvaluateError::Pattern));
}

#[test]
fn an_error_says_where_in_the_text() {
    let error = Expression::compile("true && nope").unwrap_err();
    let reason = "there is no attribute nope".to_owned();
    assert_eq!(error, CompileError { column: 9, reason, meant: None });
}
