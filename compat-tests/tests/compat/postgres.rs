//! psql, psycopg, asyncpg, SQLAlchemy, ADBC, DuckDB and pgjdbc on a topic, over PostgreSQL's
//! protocol.

use streamhouse_compat_tests::clients::{program_start, python};
use streamhouse_compat_tests::target::Broker;

#[test]
fn clients_of_postgres_find_the_table_and_the_right_answers() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data")).unwrap();
    let bootstrap = broker.bootstrap();
    python("topic.py", &[&bootstrap, "flights", "3", "table.enable=true"]).unwrap();
    let postgres = broker.postgres().unwrap();
    print!("{}", python("postgres.py", &[&bootstrap, postgres, "flights"]).unwrap());

    let (log, temp) = (dir.path().join("jdbc.log"), dir.path().join("temp"));
    let mut jdbc =
        program_start("JdbcClient", &[postgres, "flights", "20000"], &log, &temp).unwrap();
    let status = jdbc.wait().unwrap();
    let said = std::fs::read_to_string(log).unwrap();
    assert!(status.success(), "JdbcClient: {status}: {said}");
    print!("{said}");
}
