use crate::Type;

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Match,
    Matches,
    Reverse,
    ToLower,
    ToUpper,
    StartsWith,
    EndsWith,
    Contains,
    Size,
    CharAt,
    IndexOf,
    LastIndexOf,
    Replace,
    Split,
    Substring,
    Trim,
    ToBool,
    ToInt,
    ToDouble,
    ToString,
    ToTimestamp,
    ToDuration,
    Ip,
    Email,
    DnsName,
    Uri,
    EmptyMap,
    ConditionalString,
    /// A part of a moment, or of a length of time.
    Part(Part),
    RewriteUrl,
    SetRequestHeader,
    RemoveRequestHeader,
    SetResponseHeader,
    RemoveResponseHeader,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    FullYear,
    /// From 0.
    Month,
    /// From 1.
    Date,
    /// From 0.
    DayOfMonth,
    /// From 0, a Sunday.
    DayOfWeek,
    /// From 0.
    DayOfYear,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

impl Function {
    pub(crate) const fn changes(self) -> bool {
        matches!(
            self,
            Self::RewriteUrl
                | Self::SetRequestHeader
                | Self::RemoveRequestHeader
                | Self::SetResponseHeader
                | Self::RemoveResponseHeader
        )
    }
}

/// How a function may be called.
pub(crate) struct Signature {
    pub(crate) name: &'static str,
    pub(crate) form: Form,
    /// Of a method, the receiver's type first.
    pub(crate) arguments: &'static [Type],
    pub(crate) result: Type,
    pub(crate) function: Function,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `f(a, b)`.
    Global,
    /// `a.f(b)`.
    Method,
    Either,
}

impl Form {
    pub(crate) const fn allows(self, method: bool) -> bool {
        match self {
            Self::Global => !method,
            Self::Method => method,
            Self::Either => true,
        }
    }
}

const fn of(
    name: &'static str,
    form: Form,
    arguments: &'static [Type],
    result: Type,
    function: Function,
) -> Signature {
    Signature { name, form, arguments, result, function }
}

/// Every way to call a function: MOSN's own, CEL's standard ones, and CEL's extension for texts.
pub(crate) static SIGNATURES: &[Signature] = {
    use Form::{Either, Global, Method};
    use Function as F;
    use Type::{Bool, Context, DnsName, Double, Duration, Email, Int, Ip, List, Map, String, Timestamp, Uri};
    &[
        of("match", Either, &[String, String], Bool, F::Match),
        of("reverse", Either, &[String], String, F::Reverse),
        of("toLower", Either, &[String], String, F::ToLower),
        of("toUpper", Either, &[String], String, F::ToUpper),
        of("conditionalString", Either, &[Bool, String, String], String, F::ConditionalString),
        of("email", Either, &[String], Email, F::Email),
        of("dnsName", Either, &[String], DnsName, F::DnsName),
        of("uri", Either, &[String], Uri, F::Uri),
        of("ip", Either, &[String], Ip, F::Ip),
        of("string", Either, &[Ip], String, F::ToString),
        of("string", Either, &[Uri], String, F::ToString),
        of("emptyStringMap", Global, &[], Map, F::EmptyMap),
        of("rewrite_request_url", Either, &[Context, String], Bool, F::RewriteUrl),
        of("add_request_header", Either, &[Context, String, String], Bool, F::SetRequestHeader),
        of("del_request_header", Either, &[Context, String], Bool, F::RemoveRequestHeader),
        of("add_response_header", Either, &[Context, String, String], Bool, F::SetResponseHeader),
        of("del_response_header", Either, &[Context, String], Bool, F::RemoveResponseHeader),
        // The pattern comes first, as in MOSN.
        of("matches", Either, &[String, String], Bool, F::Matches),
        of("startsWith", Method, &[String, String], Bool, F::StartsWith),
        of("endsWith", Method, &[String, String], Bool, F::EndsWith),
        of("contains", Method, &[String, String], Bool, F::Contains),
        of("size", Either, &[String], Int, F::Size),
        of("size", Either, &[Map], Int, F::Size),
        of("size", Either, &[List], Int, F::Size),
        of("charAt", Method, &[String, Int], String, F::CharAt),
        of("indexOf", Method, &[String, String], Int, F::IndexOf),
        of("indexOf", Method, &[String, String, Int], Int, F::IndexOf),
        of("lastIndexOf", Method, &[String, String], Int, F::LastIndexOf),
        of("lastIndexOf", Method, &[String, String, Int], Int, F::LastIndexOf),
        of("replace", Method, &[String, String, String], String, F::Replace),
        of("replace", Method, &[String, String, String, Int], String, F::Replace),
        of("split", Method, &[String, String], List, F::Split),
        of("split", Method, &[String, String, Int], List, F::Split),
        of("substring", Method, &[String, Int], String, F::Substring),
        of("substring", Method, &[String, Int, Int], String, F::Substring),
        of("trim", Method, &[String], String, F::Trim),
        of("bool", Global, &[Bool], Bool, F::ToBool),
        of("bool", Global, &[String], Bool, F::ToBool),
        of("int", Global, &[Int], Int, F::ToInt),
        of("int", Global, &[Double], Int, F::ToInt),
        of("int", Global, &[String], Int, F::ToInt),
        of("int", Global, &[Timestamp], Int, F::ToInt),
        of("int", Global, &[Duration], Int, F::ToInt),
        of("double", Global, &[Double], Double, F::ToDouble),
        of("double", Global, &[Int], Double, F::ToDouble),
        of("double", Global, &[String], Double, F::ToDouble),
        of("string", Global, &[String], String, F::ToString),
        of("string", Global, &[Bool], String, F::ToString),
        of("string", Global, &[Int], String, F::ToString),
        of("string", Global, &[Double], String, F::ToString),
        of("string", Global, &[Timestamp], String, F::ToString),
        of("string", Global, &[Duration], String, F::ToString),
        of("timestamp", Global, &[Timestamp], Timestamp, F::ToTimestamp),
        of("timestamp", Global, &[String], Timestamp, F::ToTimestamp),
        of("duration", Global, &[Duration], Duration, F::ToDuration),
        of("duration", Global, &[String], Duration, F::ToDuration),
        of("getFullYear", Method, &[Timestamp], Int, F::Part(Part::FullYear)),
        of("getFullYear", Method, &[Timestamp, String], Int, F::Part(Part::FullYear)),
        of("getMonth", Method, &[Timestamp], Int, F::Part(Part::Month)),
        of("getMonth", Method, &[Timestamp, String], Int, F::Part(Part::Month)),
        of("getDate", Method, &[Timestamp], Int, F::Part(Part::Date)),
        of("getDate", Method, &[Timestamp, String], Int, F::Part(Part::Date)),
        of("getDayOfMonth", Method, &[Timestamp], Int, F::Part(Part::DayOfMonth)),
        of("getDayOfMonth", Method, &[Timestamp, String], Int, F::Part(Part::DayOfMonth)),
        of("getDayOfWeek", Method, &[Timestamp], Int, F::Part(Part::DayOfWeek)),
        of("getDayOfWeek", Method, &[Timestamp, String], Int, F::Part(Part::DayOfWeek)),
        of("getDayOfYear", Method, &[Timestamp], Int, F::Part(Part::DayOfYear)),
        of("getDayOfYear", Method, &[Timestamp, String], Int, F::Part(Part::DayOfYear)),
        of("getHours", Method, &[Timestamp], Int, F::Part(Part::Hours)),
        of("getHours", Method, &[Timestamp, String], Int, F::Part(Part::Hours)),
        of("getHours", Method, &[Duration], Int, F::Part(Part::Hours)),
        of("getMinutes", Method, &[Timestamp], Int, F::Part(Part::Minutes)),
        of("getMinutes", Method, &[Timestamp, String], Int, F::Part(Part::Minutes)),
        of("getMinutes", Method, &[Duration], Int, F::Part(Part::Minutes)),
        of("getSeconds", Method, &[Timestamp], Int, F::Part(Part::Seconds)),
        of("getSeconds", Method, &[Timestamp, String], Int, F::Part(Part::Seconds)),
        of("getSeconds", Method, &[Duration], Int, F::Part(Part::Seconds)),
        of("getMilliseconds", Method, &[Timestamp], Int, F::Part(Part::Milliseconds)),
        of("getMilliseconds", Method, &[Timestamp, String], Int, F::Part(Part::Milliseconds)),
        of("getMilliseconds", Method, &[Duration], Int, F::Part(Part::Milliseconds)),
    ]
};
