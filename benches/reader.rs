//! Reading stored stanzas, compared with minidom and xmpp-parsers' `Message` on the same input.
//!
//! `cargo bench --bench reader`; the first size is the one that must be read five times as fast.

mod stanzas;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};

use crate::stanzas::{all, baseline, read};

#[expect(clippy::print_stderr, reason = "the sizes belong to the figures")]
fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("reader");
    for it in all() {
        eprintln!("{}: {} bytes", it.name, it.stored.len());
        assert!(read(&it.stored) && baseline(&it.baseline), "{}: both read it", it.name);
        group.throughput(Throughput::Bytes(it.stored.len() as u64));
        group.bench_with_input(
            BenchmarkId::new("ephemerd", it.name),
            &it.stored,
            |bencher, xml| {
                bencher.iter(|| read(black_box(xml)));
            },
        );
        group.bench_with_input(
            BenchmarkId::new("minidom", it.name),
            &it.baseline,
            |bencher, xml| {
                bencher.iter(|| baseline(black_box(xml)));
            },
        );
    }
    group.finish();
    criterion.final_summary();
}
