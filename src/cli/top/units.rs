//! Numbers, sizes and times in few characters.

/// A count or a rate: `0.3`, `12`, `1.2k`, `34M`.
pub(super) fn count(value: f64) -> String {
    scaled(value, 1000.0, &["", "k", "M", "G", "T", "P"])
}

/// Bytes: `12 B`, `1.2 MiB` have no room; these are `12`, `1.2M`, in powers of 1024.
pub(super) fn bytes(value: f64) -> String {
    scaled(value, 1024.0, &["", "K", "M", "G", "T", "P"])
}

fn scaled(value: f64, base: f64, units: &[&str]) -> String {
    let mut value = value;
    let mut units = units.iter();
    let mut unit = units.next();
    // 999.95 would be rounded to a fourth digit.
    while value >= 999.5 {
        let Some(next) = units.next() else { break };
        (value, unit) = (value / base, Some(next));
    }
    let unit = unit.copied().unwrap_or_default();
    let is_whole = unit.is_empty() && value.fract() == 0.0;
    match value {
        ..9.95 if !is_whole => format!("{value:.1}{unit}"),
        _ => format!("{value:.0}{unit}"),
    }
}

/// A part of a whole, in percent.
pub(super) fn share(value: f64) -> String {
    let percent = value * 100.0;
    if percent > 0.0 && percent < 9.95 { format!("{percent:.1}%") } else { format!("{percent:.0}%") }
}

/// What took so many nanoseconds at most.
pub(super) fn nanoseconds(ns: u64) -> String {
    let (value, unit) = match ns {
        u64::MAX => return ">17s".into(),
        ..1_000 => return format!("{ns}ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "us"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    if value < 9.95 { format!("{value:.1}{unit}") } else { format!("{value:.0}{unit}") }
}

/// How long ago.
pub(super) fn age(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    match seconds {
        ..120.0 => format!("{seconds:.0}s"),
        ..7200.0 => format!("{:.0}m", (seconds / 60.0).floor()),
        ..172_800.0 => format!("{:.0}h", (seconds / 3600.0).floor()),
        _ => format!("{:.0}d", (seconds / 86_400.0).floor()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_fits_into_six_characters() {
        for (value, text) in [
            (0.0, "0"),
            (0.26, "0.3"),
            (12.0, "12"),
            (12.7, "13"),
            (999.4, "999"),
            (999.6, "1.0k"),
            (34e6, "34M"),
        ] {
            assert_eq!(count(value), text);
        }
        for (value, text) in [(0.0, "0"), (512.0, "512"), (1000.0, "1.0K"), (1536.0, "1.5K"), (2e12, "1.8T")]
        {
            assert_eq!(bytes(value), text);
        }
        for (ns, text) in
            [(128, "128ns"), (1024, "1.0us"), (1 << 20, "1.0ms"), (1 << 34, "17s"), (u64::MAX, ">17s")]
        {
            assert_eq!(nanoseconds(ns), text);
        }
        assert_eq!([0.0, 0.004, 0.5, 1.0].map(share), ["0%", "0.4%", "50%", "100%"]);
        assert_eq!([0.4, 119.0, 150.0, 9000.0, 1e6].map(age), ["0s", "119s", "2m", "2h", "11d"]);
        for power in 0..40 {
            let value = 2_f64.powi(power) * 1.37;
            assert!(
                [count(value), bytes(value), nanoseconds(value as u64), age(value / 1e9)]
                    .iter()
                    .all(|it| it.len() <= 6)
            );
        }
    }
}
