//! The agent's counters as Prometheus metrics, read when they are scraped.

use std::{collections::BTreeMap, fmt};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use super::{BOUNDS_US, Stats, TlsSnapshot};

/// Reads [`Stats`] for a scrape.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) stats: Stats,
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = self.stats.snapshot();
        let out = &mut encoder;
        counter(out, "umbra_capture_requests", "Requests received", now.requests)?;
        counter(
            out,
            "umbra_capture_recorded",
            "Requests durable in the log or the spool",
            now.recorded,
        )?;
        counter(
            out,
            "umbra_capture_not_selected",
            "Requests left out by the selection",
            now.not_selected,
        )?;
        by_reason(out, "umbra_capture_lost", "Requests that could not be recorded", &now.lost)?;
        by_reason(
            out,
            "umbra_capture_answers_lost",
            "Answers that could not be recorded",
            &now.answers_lost,
        )?;
        counter(
            out,
            "umbra_capture_redaction_dropped",
            "Values dropped instead of sealed or hashed, for want of a key or of room",
            now.redaction_dropped,
        )?;
        counter(
            out,
            "umbra_capture_redaction_cut",
            "Bodies cut because not all of them could be looked at for secrets",
            now.redaction_cut,
        )?;
        counter(
            out,
            "umbra_capture_keys_failed",
            "Attempts to keep a data key with the log that failed",
            now.keys_failed,
        )?;
        by_reason(out, "umbra_capture_refused", "Messages and connections refused", &now.refused)?;
        gauge(out, "umbra_capture_tee_bytes", "Bytes held for the log", now.tee_bytes)?;
        gauge(out, "umbra_capture_spool_bytes", "Bytes in the spool", now.spool_bytes)?;
        gauge(out, "umbra_capture_spool_records", "Records in the spool", now.spooled)?;
        counter(
            out,
            "umbra_capture_spool_damaged_bytes",
            "Bytes in spools that were no records",
            now.spool_damaged_bytes,
        )?;
        by_reason(
            out,
            "umbra_capture_spool_refused",
            "Recorded requests that the log refused when the spool was drained",
            &now.spool_refused,
        )?;
        gauge(out, "umbra_capture_connections", "Open client connections", now.connections)?;
        self.certificates(out, now.tls.as_ref())?;
        self.append_seconds(out)?;
        self.upstream_seconds(out)
    }
}

impl Metrics {
    fn certificates(
        &self,
        out: &mut DescriptorEncoder<'_>,
        tls: Option<&TlsSnapshot>,
    ) -> fmt::Result {
        let Some(tls) = tls else { return Ok(()) };
        let results = [("ok", tls.reloaded), ("failed", tls.failed)];
        let mut reloads = out.encode_descriptor(
            "umbra_capture_tls_reloads",
            "Changes of the certificate's files, by whether they could be used",
            None,
            MetricType::Counter,
        )?;
        for (result, n) in results {
            let labels = [("result", result)];
            ConstCounter::new(n).encode(reloads.encode_family(&labels)?)?;
        }
        gauge(
            out,
            "umbra_capture_tls_certificate_expires_seconds",
            "When the certificate towards clients expires, in seconds since 1970",
            tls.expires,
        )
    }

    fn append_seconds(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some(times) = self.stats.append_times() else { return Ok(()) };
        let bounds = times.bounds_us.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(times.counts).collect();
        out.encode_descriptor(
            "umbra_log_append_seconds",
            "Time from handing a record to the log until it is durable there (a sample)",
            None,
            MetricType::Histogram,
        )?
        .encode_histogram::<NoLabelSet>(
            times.sum_us as f64 / 1e6,
            buckets.iter().map(|bucket| bucket.1).sum(),
            &buckets,
            None,
        )
    }

    fn upstream_seconds(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut counts = [0_u64; BOUNDS_US.len() + 1];
        let mut sum_us = 0_u64;
        for lane in self.stats.lanes() {
            for (count, bucket) in counts.iter_mut().zip(&lane.upstream.buckets) {
                *count += bucket.get();
            }
            sum_us += lane.upstream.sum_us.get();
        }
        let bounds = BOUNDS_US.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        out.encode_descriptor(
            "umbra_capture_upstream_seconds",
            "Time from a request's first byte to the head of its answer",
            None,
            MetricType::Histogram,
        )?
        .encode_histogram::<NoLabelSet>(
            sum_us as f64 / 1e6,
            counts.iter().sum(),
            &buckets,
            None,
        )
    }
}

fn counter(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let metric = ConstCounter::new(value);
    metric.encode(out.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn gauge(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    metric.encode(out.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn by_reason(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: &BTreeMap<String, u64>,
) -> fmt::Result {
    if values.is_empty() {
        return Ok(());
    }
    let mut family = out.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (reason, value) in values {
        let labels = [("reason", reason.as_str())];
        ConstCounter::new(*value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
