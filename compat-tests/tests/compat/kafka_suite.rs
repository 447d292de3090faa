//! A fast part of Apache Kafka's own integration tests; `just compat-suite` runs all of them.

use streamhouse_compat_tests::not_possible_here;
use streamhouse_compat_tests::suite::expected::Expected;
use streamhouse_compat_tests::suite::run::{Run, expected_path, fast};
use streamhouse_compat_tests::target::Target;

#[test]
fn kafkas_own_tests_end_as_expected() {
    if Target::current().unwrap() == Target::Kafka {
        return not_possible_here("Kafka's tests", "they start StreamHouse, not another broker");
    }
    let expected = Expected::load(&expected_path()).unwrap();
    let ids = fast().unwrap();
    let logs = tempfile::tempdir().unwrap();
    let run =
        Run { expected: &expected, jobs: 1, isolated: false, logs: logs.path().to_path_buf() };
    let outcomes = run.run(&ids, &|_| ()).unwrap();
    let differences = expected.differences(&outcomes, &ids);
    assert!(!outcomes.is_empty());
    assert!(
        differences.is_empty(),
        "{}\n{}",
        differences.join("\n"),
        std::fs::read_to_string(logs.path().join("worker-0.log")).unwrap()
    );
}
