/// Appends `value` as Prometheus sinks of MOSN print it: Go's shortest `%g`, and `.0` after what
/// would otherwise look like an integer (observability reference 2.5).
pub(crate) fn write_float(value: f64, out: &mut String) {
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else if value == 0.0 {
        out.push_str("0.0");
    } else {
        // Rust prints the same shortest digits, only laid out by other rules.
        let scientific = format!("{value:e}");
        let Some((mantissa, exponent)) = scientific.split_once('e') else { return };
        let exponent: i32 = exponent.parse().unwrap_or(0);
        if !(-4..6).contains(&exponent) {
            let sign = if exponent < 0 { '-' } else { '+' };
            out.push_str(&format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs()));
        } else {
            let plain = value.to_string();
            out.push_str(&plain);
            if !plain.contains('.') {
                out.push_str(".0");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(value: f64) -> String {
        let mut out = String::new();
        write_float(value, &mut out);
        out
    }

    #[test]
    fn values_read_as_go_prints_them() {
        for (value, expected) in [
            (0.0, "0.0"),
            (-0.0, "0.0"),
            (1.0, "1.0"),
            (-1.0, "-1.0"),
            (2.0, "2.0"),
            (999_999.0, "999999.0"),
            (1_000_000.0, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (-1_234_567.0, "-1.234567e+06"),
            (123_456_789_012.0, "1.23456789012e+11"),
            (1e21, "1e+21"),
            (1e100, "1e+100"),
            (0.5, "0.5"),
            (12.25, "12.25"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (999_999.5, "999999.5"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(text(value), expected);
        }
    }

    proptest! {
        #[test]
        fn text_reads_back_as_the_same_value_and_never_looks_like_an_integer(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let text = text(value);
            prop_assert_eq!(text.parse::<f64>().unwrap(), value);
            prop_assert!(text.contains(['e', '.']));
            if let Some((_, exponent)) = text.split_once('e') {
                prop_assert!(exponent.starts_with(['+', '-']) && exponent.len() >= 3);
            }
        }

        #[test]
        fn counts_below_a_million_are_plain(count in -999_999_i32..=999_999) {
            prop_assert_eq!(text(f64::from(count)), format!("{count}.0"));
        }
    }
}
