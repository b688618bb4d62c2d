//! What files say of their own values answers and prunes only where it may be believed: bounds of numbers of which some are
//! none, bounds of writers of old, nulls that nobody counted, and filters that tell both zeros apart.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Float64Array, Int64Array, ListArray, StringArray};
use arrow::datatypes::{Field, Float64Type, Schema};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::data_type::ByteArray;
use parquet::file::metadata::{FileMetaData, ParquetMetaData, ParquetMetaDataReader, ParquetMetaDataWriter};
use parquet::file::properties::WriterProperties;
use parquet::file::statistics::Statistics;
use sql_tests::{Options, TestCluster};

/// Writes a file of row groups of two rows, with all that a writer tells of its values.
fn write(path: &Path, columns: &[(&str, ArrayRef)]) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    let fields = columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let arrays = columns.iter().map(|(_, array)| Arc::clone(array)).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).expect("a batch");
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(2))
        .set_bloom_filter_enabled(true)
        .build();
    let file = std::fs::File::create(path).expect("a file");
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties)).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
}

/// Lets the file of `path` tell `other` statistics of its columns, as written by `writer`.
fn tell(path: &Path, writer: &str, other: impl Fn(&Statistics) -> Statistics) {
    let bytes = std::fs::read(path).expect("read");
    let reader = ParquetMetaDataReader::new();
    let footer = reader.parse_and_finish(&std::fs::File::open(path).expect("opened")).expect("a footer");
    let groups = footer.row_groups().iter().map(|group| {
        let chunks = group.columns().iter().map(|chunk| {
            let told = other(chunk.statistics().expect("it tells"));
            let builder = chunk.clone().into_builder().set_statistics(told);
            builder.set_column_index_offset(None).set_column_index_length(None).build().expect("a chunk")
        });
        group.clone().into_builder().set_column_metadata(chunks.collect()).build().expect("a group")
    });
    let file = footer.file_metadata();
    let file = FileMetaData::new(
        file.version(),
        file.num_rows(),
        Some(writer.to_owned()),
        file.key_value_metadata().cloned(),
        file.schema_descr_ptr(),
        None,
    );
    let footer = ParquetMetaData::new(file, groups.collect());
    let end = bytes.len() - 8;
    let length = u32::from_le_bytes(bytes[end..end + 4].try_into().expect("four bytes")) as usize;
    let mut written = bytes[..end - length].to_vec();
    let mut end = Vec::new();
    ParquetMetaDataWriter::new(&mut end, &footer).finish().expect("a footer");
    written.extend(end);
    std::fs::write(path, written).expect("written");
}

/// Of `nan`, one whose sign says that it is less than all numbers.
fn floats() -> Vec<Option<f64>> {
    let nan = f64::NAN;
    vec![
        Some(nan),
        Some(1.0),
        Some(2.0),
        None,
        Some(-nan),
        Some(-0.0),
        Some(0.0),
        Some(3.0),
        Some(nan),
        Some(nan),
        Some(5.0),
        Some(-5.0),
    ]
}

fn lake(lake: &Path) {
    let file = |name: &str, columns: &[(&str, ArrayRef)]| write(&lake.join(name), columns);
    let double = |values: Vec<Option<f64>>| Arc::new(Float64Array::from(values)) as ArrayRef;
    let single = |values: Vec<Option<f64>>| {
        Arc::new(Float32Array::from_iter(values.into_iter().map(|value| value.map(|value| value as f32))))
            as ArrayRef
    };
    let whole = |values: Vec<Option<i64>>| Arc::new(Int64Array::from(values)) as ArrayRef;
    file("doubles.parquet", &[("x", double(floats()))]);
    file("singles.parquet", &[("x", single(floats()))]);
    for (at, pair) in floats().chunks(2).enumerate() {
        file(&format!("many/{at}.parquet"), &[("x", double(pair.to_vec()))]);
        let column = if at % 2 == 0 { double(pair.to_vec()) } else { single(pair.to_vec()) };
        file(&format!("both/{at}.parquet"), &[("x", column)]);
    }
    let lists = floats().into_iter().map(|value| Some(vec![value]));
    file("lists.parquet", &[("x", Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(lists)))]);

    let some = || whole(vec![Some(1), None, Some(2), None, Some(3), Some(4)]);
    let uncounted = |told: &Statistics| match told {
        Statistics::Int64(of) => {
            Statistics::int64(of.min_opt().copied(), of.max_opt().copied(), None, None, false)
        }
        other => other.clone(),
    };
    file("uncounted.parquet", &[("v", some())]);
    tell(&lake.join("uncounted.parquet"), "somebody", uncounted);
    file("none_there.parquet", &[("v", whole((0..6).map(Some).collect()))]);
    tell(&lake.join("none_there.parquet"), "parquet-rs version 52.0.0", uncounted);

    let words = StringArray::from(vec!["a", "é", "z", "Ā", "zz", "b"]);
    file("words.parquet", &[("t", Arc::new(words))]);
    // Bytes as signed numbers.
    tell(&lake.join("words.parquet"), "parquet-mr version 1.6.0", |told| match told {
        Statistics::ByteArray(of) => {
            let key = |value: &&ByteArray| value.data().iter().map(|byte| *byte as i8).collect::<Vec<_>>();
            let both = [of.min_opt().expect("one"), of.max_opt().expect("one")];
            let (min, max) = (both.iter().copied().min_by_key(key), both.iter().copied().max_by_key(key));
            Statistics::byte_array(min.cloned(), max.cloned(), None, Some(0), true)
        }
        other => other.clone(),
    });
    file("twins.parquet", &[("a", some()), ("a", some())]);
}

/// Conditions on `x`, and how many of the floats fulfil them.
const FLOATS: &[(&str, i64)] = &[
    ("x > 2", 6),
    ("x >= 2", 7),
    ("x > 100", 4),
    ("x = 'NaN'", 4),
    ("x <> 'NaN'", 7),
    ("x < 'NaN'", 7),
    ("x >= 'NaN'", 4),
    ("x = 0", 2),
    ("x < 0", 1),
    ("x <= 0", 3),
    ("x > 0", 8),
    ("x <> 0", 9),
    ("x = -0.0::float8", 2),
    ("x in (0, 'NaN')", 6),
    ("x not in (1, 2)", 9),
    ("x between 2 and 'NaN'", 7),
    ("not (x < 2)", 7),
    ("x is null", 1),
    ("x is distinct from 'NaN'", 8),
    ("x + 0 > 100", 4),
    ("x > 2 and x < 'NaN'", 2),
    ("x >= 3 or x < -4", 7),
];

/// Questions over files, with what `psql` would print.
const OTHERS: &[(&str, &str)] = &[
    ("select max(x)::text from T", "NaN"),
    ("select min(x)::text from T", "-5"),
    ("select count(x)::text from T", "11"),
    ("select count(distinct x)::text from T", "7"),
    (
        "select string_agg(y, ' ') from (select x::text as y from T order by x desc nulls last limit 3) z",
        "NaN NaN NaN",
    ),
    ("select max(x)::text from (select x from T order by x desc nulls last limit 1) y", "NaN"),
    ("select string_agg(y, ' ') from (select x::text as y from T order by x limit 2) z", "-5 0|-5 -0"),
    ("select count(*)::text from T a join T b on a.x = b.x", "25"),
    ("select count(*)::text from T where x = (select max(x) from doubles)", "4"),
    ("select count(*)::text from T a where a.x in (select b.x from doubles b where b.x > 4)", "5"),
    ("select count(*)::text from (select x from T group by x) y", "8"),
];

const OF_FILES: &[(&str, &str)] = &[
    ("select count(v)::text from uncounted", "4"),
    ("select count(*)::text from uncounted where v is null", "2"),
    ("select count(*)::text from uncounted where v is not null", "4"),
    ("select count(*)::text from uncounted where v > 1", "3"),
    ("select count(v)::text from none_there", "6"),
    ("select count(*)::text from none_there where v is null", "0"),
    ("select count(*)::text from words where t = 'a'", "1"),
    ("select count(*)::text from words where t = 'é'", "1"),
    ("select count(*)::text from words where t > 'z'", "3"),
    ("select max(t) || min(t) from words", "Āa"),
    ("select t from words order by t desc limit 1", "Ā"),
    ("select count(*)::text from lists where x > array[100.0]::float8[]", "5"),
];

#[tokio::test(flavor = "multi_thread")]
async fn statistics_answer_only_what_they_know() {
    let folder = tempfile::tempdir().expect("a folder");
    lake(folder.path());
    let options = Options { locations: vec![folder.path().to_owned()], executors: 1, ..Options::default() };
    let cluster =
        TestCluster::start(Path::new(env!("CARGO_BIN_EXE_sluice")), &options).await.expect("a server");
    let client = cluster.connect().await.expect("a session");
    let made = "create table managed (x float8); insert into managed select x from doubles;\
                insert into managed select x from many where x > 1 and x < 1";
    client.batch_execute(made).await.expect("made");
    let tables = ["doubles", "singles", "many", "both", "managed"];
    let mut questions: Vec<(String, String)> = Vec::new();
    for table in tables {
        let count = |condition: &str| format!("select count(*)::text from {table} where {condition}");
        questions.extend(FLOATS.iter().map(|(condition, rows)| (count(condition), rows.to_string())));
        let of = |sql: &str| sql.replace(" T", &format!(" {table}"));
        questions.extend(OTHERS.iter().map(|(sql, right)| (of(sql), (*right).to_owned())));
    }
    questions.extend(OF_FILES.iter().map(|(sql, right)| ((*sql).to_owned(), (*right).to_owned())));
    let mut wrong = Vec::new();
    for route in ["local", "cluster"] {
        client.batch_execute(&format!("set sluice.route = {route}")).await.expect("set");
        for (sql, right) in &questions {
            let found = match client.query_one(sql.as_str(), &[]).await {
                Ok(row) => row.get::<_, String>(0),
                Err(error) => format!("{error:?}"),
            };
            if !right.split('|').any(|right| right == found) {
                wrong.push(format!("{route}: {sql}: {found}, not {right}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let refused = client.simple_query("select * from twins").await;
    assert_eq!(sql_tests::sqlstate(&refused), "42804", "{refused:?}");
}
