//! The system catalog, as tools ask it.

use crate::House;

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_their_columns_are_found() {
    let house = House::new().await;
    house.lake.produce(0, &[r#"{"n":1,"s":"a","o":{"x":1},"l":[1.5],"b":true}"#]).await;
    let mut client = house.connect().await;
    let tables = "select n.nspname, c.relname, c.relkind, pg_catalog.pg_get_userbyid(c.relowner) \
                  from pg_catalog.pg_class c join pg_namespace n on n.oid = c.relnamespace \
                  where n.nspname = 'public' and pg_catalog.pg_table_is_visible(c.oid) order by 2";
    let expected = ["public|t|r|streamhouse", "public|t__dlq|r|streamhouse"];
    assert_eq!(client.query(tables).await.texts(), expected);
    let columns = "select a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod) \
                   from pg_attribute a join pg_class c on c.oid = a.attrelid \
                   where c.relname = 't' and a.attnum > 0 and a.attname not like 'kafka%' \
                   order by 1";
    assert_eq!(
        client.query(columns).await.texts(),
        ["b|boolean", "l|double precision[]", "n|bigint", "o|json", "s|text"]
    );
    // What a result says of its columns is the same.
    let answer = client.query("select b, l, n, o, s from t").await;
    let kinds: Vec<_> = answer.columns.iter().map(|(_, kind)| *kind).collect();
    assert_eq!(kinds, [16, 1022, 20, 114, 25]);
    assert_eq!(answer.texts(), [r#"t|{1.5}|1|{"x":1}|a"#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_are_schemas() {
    let house = House::new().await;
    let keys = [("table.enable", "true"), ("table.namespace", "sales")];
    house.lake.create("orders", &keys).await;
    let mut client = house.connect().await;
    assert_eq!(client.query("select count(*) from sales.orders").await.texts(), ["0"]);
    let schemas =
        "select nspname from pg_namespace where nspname in ('public', 'sales') order by 1";
    assert_eq!(client.query(schemas).await.texts(), ["public", "sales"]);
    let tables = "select n.nspname, c.relname from pg_class c \
                  join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'sales' order by 2";
    let expected = ["sales|orders", "sales|orders__dlq"];
    assert_eq!(client.query(tables).await.texts(), expected);
    let tables = "select table_schema, table_name from information_schema.tables \
                  where table_schema = 'sales' order by 2";
    assert_eq!(client.query(tables).await.texts(), expected);
    let columns = "select count(*) from information_schema.columns \
                   where table_schema = 'sales' and table_name = 'orders'";
    assert_eq!(client.query(columns).await.texts(), ["8"]);
    let schemata = "select schema_name from information_schema.schemata order by 1";
    assert_eq!(
        client.query(schemata).await.texts(),
        ["information_schema", "pg_catalog", "public", "sales"]
    );
    let found = "select to_regclass('sales.orders') is not null, to_regclass('public.orders')";
    assert_eq!(client.query(found).await.texts(), ["t|∅"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_keeps_its_number() {
    let house = House::new().await;
    house.numbers(0, 1).await;
    let sql = "select oid from pg_class where relname = 't'";
    let first = house.connect().await.query(sql).await.texts();
    let mut client = house.connect().await;
    client.query("select count(*) from pg_attribute").await;
    client.query("select count(*) from pg_namespace").await;
    assert_eq!(client.query(sql).await.texts(), first);
    let cast = client.query("select 't'::regclass::int, to_regclass('public.t')").await;
    assert_eq!(cast.texts(), [format!("{0}|{0}", first[0])]);
    assert_eq!(client.query("select to_regclass('nowhere')").await.texts(), ["∅"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_answered_with_nothing() {
    let house = House::new().await;
    let mut client = house.connect().await;
    for sql in [
        "select conname, unnest(conkey) from pg_constraint where conrelid = 't'::regclass",
        "select * from pg_index",
        "select indexname from pg_indexes where tablename = 't'",
        "select x.a from (select unnest(indkey) as a, generate_subscripts(indkey, 1) as b \
         from pg_index) x join pg_class c on c.oid = x.a",
        "select typname, array(select enumlabel from pg_enum e where e.enumtypid = t.oid) \
         from pg_type t where typname = 'nothing'",
    ] {
        let answer = client.query(sql).await;
        assert_eq!(answer.errors, [], "{sql}");
        assert_eq!(answer.rows.len(), 0, "{sql}");
        assert!(!answer.columns.is_empty(), "{sql}");
    }
    assert_eq!(client.query("select count(*) from pg_trigger").await.texts(), ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_know_themselves() {
    let house = House::new().await;
    let mut client = house.connect().await;
    let answer = client.query("select version()").await;
    assert!(answer.texts()[0].starts_with("PostgreSQL 15"), "{:?}", answer.texts());
    assert_eq!(answer.columns[0].0, "version");
    let answer =
        client.query("select pg_backend_pid(), current_schema(), current_database()").await;
    assert_eq!(answer.texts(), [format!("{}|public|any", client.process)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_information_schema_has_the_standards_names_of_types() {
    let house = House::new().await;
    house.lake.produce(0, &[r#"{"n":1,"l":["a"]}"#]).await;
    let mut client = house.connect().await;
    let columns = "select column_name, data_type, udt_name, is_nullable \
                   from information_schema.columns where table_name = 't' \
                   and column_name in ('n', 'l', 'kafka_timestamp') order by ordinal_position";
    assert_eq!(
        client.query(columns).await.texts(),
        [
            "kafka_timestamp|timestamp with time zone|timestamptz|YES",
            "n|bigint|int8|YES",
            "l|ARRAY|_text|YES",
        ]
    );
    let tables = "select table_name from information_schema.tables \
                  where table_schema = 'public' and table_type = 'BASE TABLE' order by 1";
    assert_eq!(client.query(tables).await.texts(), ["t", "t__dlq"]);
    assert_eq!(client.query("select * from information_schema.views").await.rows.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_of_types_are_compared_by_their_names() {
    let house = House::new().await;
    let mut client = house.connect().await;
    // pgjdbc's way to tell arrays.
    let sql = "select typname, typinput = 'pg_catalog.array_in'::regproc as is_array \
               from pg_catalog.pg_type where typname in ('_text', 'text') order by 1";
    assert_eq!(client.query(sql).await.texts(), ["_text|t", "text|f"]);
    // pgcli's way to complete calls.
    let sql = "select p.proname, coalesce(proallargtypes::regtype[], proargtypes::regtype[])::text[] \
               from pg_catalog.pg_proc p where p.prorettype::regtype != 'trigger'::regtype \
               and p.proname = 'array_in'";
    assert_eq!(client.query(sql).await.texts(), ["array_in|∅"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_of_a_session_are_a_relation() {
    let house = House::new().await;
    let mut client = house.connect().await;
    client.query("set statement_timeout = '5s'").await;
    let sql = "select name, setting, boot_val, source from pg_settings \
               where name in ('statement_timeout', 'max_index_keys') order by 1";
    let expected = ["max_index_keys|32|32|default", "statement_timeout|5s|1min|session"];
    assert_eq!(client.query(sql).await.texts(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn privileges_and_descriptions_are_there_and_empty() {
    let house = House::new().await;
    house.numbers(0, 1).await;
    let mut client = house.connect().await;
    // psql's \dp and \dd, in short.
    let sql = "select c.relname, pg_catalog.array_to_string(c.relacl, E'\\n'), \
               pg_catalog.array_to_string(array(select attname from pg_catalog.pg_attribute a \
               where a.attrelid = c.oid and a.attacl is not null), E'\\n') \
               from pg_catalog.pg_class c where c.relname = 't'";
    assert_eq!(client.query(sql).await.texts(), ["t|∅|∅"]);
    let sql = "select c.relname, d.description from pg_catalog.pg_class c \
               left join pg_catalog.pg_description d on d.objoid = c.oid \
               and d.classoid = c.tableoid where c.relname = 't'";
    assert_eq!(client.query(sql).await.texts(), ["t|∅"]);
}
