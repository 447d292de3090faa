//! psql, psycopg, asyncpg, SQLAlchemy, ADBC and DuckDB on a topic, over PostgreSQL's protocol.

use streamhouse_compat_tests::clients::python;
use streamhouse_compat_tests::target::Broker;

#[test]
fn clients_of_postgres_find_the_table_and_the_right_answers() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data")).unwrap();
    let bootstrap = broker.bootstrap();
    python("topic.py", &[&bootstrap, "flights", "3", "table.enable=true"]).unwrap();
    let postgres = broker.postgres().unwrap();
    print!("{}", python("postgres.py", &[&bootstrap, postgres, "flights"]).unwrap());
}
