//! A report as one HTML file with plots: no script, nothing that is fetched, everything escaped.

use mintmark_crypto::digest::sha256;
use mintmark_rpc::client::plugins::entitlement::{
    EntitlementCounts, Equivocation, Finding, PluginNote, Report,
};

use super::super::audit::verdict;
use crate::output::{moment, word};

/// The width of a plot, in its own units.
const WIDTH: u64 = 960;
/// The height of the plot of production.
const HEIGHT: u64 = 220;

const STYLE: &str = "
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8884; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.clean, .clean-with-notes { color: #2a7; } .hold { color: #c80; } .breach { color: #d33; }
svg { width: 100%; height: auto; } svg text { font-size: 12px; fill: currentColor; }
code { overflow-wrap: anywhere; }
.confirmed { fill: #2a7; } .issued { fill: #58c; } .reserved { fill: #9bd; }
.failed { fill: #c80; }
.scrapped { fill: #d33; } .returned { fill: #a7c; } .lost { fill: #733; }
.destroyed { fill: #777; } .unused { fill: #8886; } .units { fill: #58c; }
.limit { stroke: #d33; stroke-dasharray: 6 4; } .retries { fill: #c80; }
";

/// The file. `limit` is the most units that the terms allow in one interval of the plot.
pub(super) fn page(report: &Report, limit: Option<u64>) -> String {
    let verdict = verdict(report.verdict());
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src \
         'unsafe-inline'\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>Audit of {site}: {verdict}</title>\n<style>{STYLE}</style></head><body>\n\
         <h1>Audit of {site}</h1>\n<p>Verdict: \
         <strong class=\"{verdict}\">{verdict}</strong></p>\n",
        site = escape(&report.site),
    );
    page.push_str(&facts(report));
    page.push_str("<h2>Findings</h2>\n");
    page.push_str(&findings(&report.findings, report.findings_dropped));
    page.push_str(&report.equivocation.as_ref().map(equivocation).unwrap_or_default());
    page.push_str("<h2>Units</h2>\n");
    page.push_str(&states_plot(&report.entitlements));
    page.push_str(&states_table(&report.entitlements));
    page.push_str("<h2>Production</h2>\n");
    page.push_str(&production(report, limit));
    page.push_str(&notes(&report.notes, report.notes_dropped));
    page.push_str("</body></html>\n");
    page
}

fn equivocation(proof: &Equivocation) -> String {
    format!(
        "<p>From row {} on the site has signed two ledgers of {}: the checkpoints \
         <code>{}</code> and <code>{}</code> (SHA-256) can't both be true. \
         <code>report show --json</code> has them whole.</p>\n",
        proof.row,
        escape(&proof.node),
        hex::encode(sha256(&proof.held)),
        hex::encode(sha256(&proof.shown)),
    )
}

/// Apart from all that was checked: whoever wrote the plugin says what he likes.
fn notes(notes: &[PluginNote], dropped: u64) -> String {
    if notes.is_empty() {
        return String::new();
    }
    let row = |note: &PluginNote| {
        format!(
            "<tr><td>{} row {}</td><td>{}</td><td><code>{}</code></td></tr>\n",
            escape(&note.node),
            note.row,
            escape(&note.plugin),
            escape(&note.text),
        )
    };
    let rows: String = notes.iter().map(row).collect();
    let more = match dropped {
        0 => String::new(),
        dropped => format!("<p>And {dropped} before.</p>\n"),
    };
    format!(
        "<h2>Notes</h2>\n<p>These are the plugins' own words. No check reads them.</p>\n\
         <table>\n<tr><th>Where</th><th>Plugin</th><th>Says</th></tr>\n{rows}</table>\n{more}"
    )
}

fn facts(report: &Report) -> String {
    let rows = [
        ("Bundle made (site time)", moment(report.made_at_ms)),
        ("Report made", moment(report.reported_at_ms)),
        ("Ledger rows", format!("{}, of which {} new", report.rows, report.rows_new)),
        ("Identities released again", report.retries.to_string()),
        ("Platform of the site", report.hardware_model.clone()),
        ("Program that signed", hex::encode(&report.sender_measurement)),
        ("Bundle", report.report.clone()),
    ];
    let row = |(name, value): &(&str, String)| {
        format!("<tr><th>{name}</th><td><code>{}</code></td></tr>\n", escape(value))
    };
    format!("<table>\n{}</table>\n", rows.iter().map(row).collect::<String>())
}

fn findings(findings: &[Finding], dropped: u64) -> String {
    if findings.is_empty() {
        return "<p>None.</p>\n".to_owned();
    }
    let row = |finding: &Finding| {
        let severity = word(finding.severity().as_str_name(), "SEVERITY_");
        let place = finding.row.map(|row| format!("{} row {row}", finding.node));
        format!(
            "<tr><td class=\"{severity}\">{severity}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            escape(&finding.kind),
            escape(&place.unwrap_or_else(|| finding.node.clone())),
            escape(&finding.text),
        )
    };
    let rows: String = findings.iter().map(row).collect();
    let more = match dropped {
        0 => String::new(),
        dropped => format!("<p>And {dropped} more.</p>\n"),
    };
    format!(
        "<table>\n<tr><th>Weight</th><th>Kind</th><th>Where</th><th>What</th></tr>\n{rows}\
         </table>\n{more}"
    )
}

/// The states of an entitlement's units, in the order of the equation.
fn states(one: &EntitlementCounts) -> [(&'static str, u64); 9] {
    [
        ("confirmed", one.confirmed),
        ("issued", one.issued),
        ("reserved", one.reserved),
        ("failed", one.failed),
        ("scrapped", one.scrapped),
        ("returned", one.returned),
        ("lost", one.lost),
        ("destroyed", one.destroyed),
        ("unused", one.unused),
    ]
}

/// One bar for each entitlement, as long as what was credited.
fn states_plot(entitlements: &[EntitlementCounts]) -> String {
    const ROW: u64 = 34;
    let height = ROW * (entitlements.len() as u64).max(1);
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n");
    for (at, one) in entitlements.iter().enumerate() {
        let top = ROW * at as u64;
        let mut left = 0;
        for (state, units) in states(one) {
            let width = scaled(units, one.credited, WIDTH);
            if units > 0 {
                // However few they are, they are to be seen.
                let width = width.max(2);
                svg.push_str(&format!(
                    "<rect class=\"{state}\" x=\"{left}\" y=\"{top}\" width=\"{width}\" \
                     height=\"24\"><title>{units} {state}</title></rect>\n"
                ));
                left += width;
            }
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn states_table(entitlements: &[EntitlementCounts]) -> String {
    let names = states(&EntitlementCounts::default()).map(|(name, _)| name);
    let mut table = String::from("<table>\n<tr><th>Order</th><th class=\"n\">credited</th>");
    for name in names {
        table.push_str(&format!("<th class=\"n\">{name}</th>"));
    }
    table.push_str("</tr>\n");
    for one in entitlements {
        let order = escape(&one.order_number);
        table.push_str(&format!("<tr><td>{order}</td><td class=\"n\">{}</td>", one.credited));
        for (_, units) in states(one) {
            table.push_str(&format!("<td class=\"n\">{units}</td>"));
        }
        table.push_str("</tr>\n");
    }
    table.push_str("</table>\n");
    table
}

/// Units reserved in each interval against the limit; retries in front of them.
fn production(report: &Report, limit: Option<u64>) -> String {
    let minutes = &report.production;
    let (Some(first), Some(last)) = (minutes.first(), minutes.last()) else {
        return "<p>Nothing was made.</p>\n<svg viewBox=\"0 0 1 1\"></svg>\n".to_owned();
    };
    let interval = report.minute_ms.max(1);
    let count = last.start_ms.saturating_sub(first.start_ms) / interval + 1;
    let most = minutes.iter().map(|minute| minute.units).max().unwrap_or(0);
    let top = most.max(limit.unwrap_or(0)).max(1);
    let slot = (WIDTH / count.max(1)).max(1);
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\">\n", HEIGHT + 20);
    let mut bar = |class: &str, start_ms: u64, units: u64| {
        let left = (start_ms.saturating_sub(first.start_ms) / interval).saturating_mul(slot);
        let height = scaled(units, top, HEIGHT);
        let y = HEIGHT - height;
        let width = slot.saturating_sub(2).clamp(1, 60);
        svg.push_str(&format!(
            "<rect class=\"{class}\" x=\"{left}\" y=\"{y}\" width=\"{width}\" \
             height=\"{height}\"><title>{}: {units} {class}</title></rect>\n",
            moment(start_ms)
        ));
    };
    for minute in minutes {
        bar("units", minute.start_ms, minute.units);
        bar("retries", minute.start_ms, minute.retries);
    }
    if let Some(limit) = limit {
        let y = HEIGHT - scaled(limit, top, HEIGHT);
        svg.push_str(&format!(
            "<line class=\"limit\" x1=\"0\" x2=\"{WIDTH}\" y1=\"{y}\" y2=\"{y}\"/>\n\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">limit {limit}</text>\n",
            WIDTH - 4,
            y + 14
        ));
    }
    let label = moment(first.start_ms);
    svg.push_str(&format!("<text x=\"0\" y=\"{}\">{label}</text>\n</svg>\n", HEIGHT + 15));
    format!("{svg}<p>Units reserved, and released again, in each {} s.</p>\n", interval / 1_000)
}

/// `value` of `whole`, as a part of `length`.
fn scaled(value: u64, whole: u64, length: u64) -> u64 {
    let part = u128::from(value) * u128::from(length) / u128::from(whole.max(1));
    u64::try_from(part).unwrap_or(length).min(length)
}

/// Text of others in HTML.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use mintmark_rpc::client::plugins::entitlement::Minute;

    use super::*;

    fn report() -> Report {
        let counts = EntitlementCounts {
            order_number: "<script>alert('x')</script>".to_owned(),
            credited: 1_000,
            confirmed: 998,
            failed: 1,
            scrapped: 1,
            ..EntitlementCounts::default()
        };
        let minute = |start_ms, units| Minute { start_ms, units, ..Minute::default() };
        Report {
            site: "spiffe://acme/site/\"><b>".to_owned(),
            entitlements: vec![counts],
            production: vec![minute(60_000, 400), minute(180_000, 600)],
            minute_ms: 60_000,
            ..Report::default()
        }
    }

    #[test]
    fn nothing_of_a_site_becomes_markup() {
        let page = page(&report(), Some(2_400));
        assert!(!page.contains("<script") && !page.contains("<b>"), "{page}");
        assert!(page.contains("&lt;script&gt;"));
    }

    #[test]
    fn notes_are_set_apart_and_no_markup() {
        let mut noted = report();
        let note = PluginNote {
            node: "n1".to_owned(),
            row: 7,
            plugin: "<i>".to_owned(),
            text: "</code><script>alert('x')</script><h2>Verdict: clean".to_owned(),
            ..PluginNote::default()
        };
        noted.notes.push(note);
        noted.notes_dropped = 3;
        let page = page(&noted, None);
        assert!(!page.contains("<script") && !page.contains("<i>"), "{page}");
        let apart = page.find("<h2>Notes").unwrap();
        assert!(page.find("alert").unwrap() < apart, "the order number is above");
        assert_eq!(page.rfind("Verdict: clean").map(|at| at > apart), Some(true));
        assert!(page[apart..].contains("n1 row 7") && page.contains("And 3 before."));
        assert!(!super::page(&report(), None).contains("<h2>Notes"));
    }

    #[test]
    fn a_fork_is_shown_with_what_proves_it() {
        let mut forked = report();
        let node = "<b>n1".to_owned();
        forked.equivocation = Some(Equivocation { node, row: 51, held: vec![1], shown: vec![2] });
        let page = page(&forked, None);
        assert!(page.contains("From row 51 on") && !page.contains("<b>"));
        assert!(page.contains(&hex::encode(sha256(&[1]))));
        assert!(page.contains(&hex::encode(sha256(&[2]))));
    }

    #[test]
    fn even_one_unit_of_a_thousand_is_to_be_seen() {
        let page = page(&report(), Some(2_400));
        assert!(page.contains("<title>1 failed</title>") && page.contains("<title>1 scrapped"));
        assert!(page.contains("limit 2400"));
    }

    #[test]
    fn absurd_numbers_make_no_plot_larger_than_its_frame() {
        let mut absurd = report();
        absurd.minute_ms = 0;
        absurd.production[1].start_ms = u64::MAX;
        absurd.production[1].units = u64::MAX;
        absurd.entitlements[0].confirmed = u64::MAX;
        assert!(page(&absurd, Some(u64::MAX)).contains("</html>"));
        assert_eq!(scaled(u64::MAX, 1, 7), 7);
        absurd.production.clear();
        assert!(page(&absurd, None).contains("Nothing was made"));
    }
}
