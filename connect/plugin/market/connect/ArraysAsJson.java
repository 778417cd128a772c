package market.connect;

import java.math.BigDecimal;
import java.util.Date;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.connect.data.Field;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.data.SchemaBuilder;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.sink.SinkRecord;
import org.apache.kafka.connect.transforms.Transformation;

/**
 * Replaces each array of a value by its JSON text, for a column of type jsonb: Debezium's sink has no
 * column for an array of records.
 *
 * <p>Decimals are strings with all their digits, times are milliseconds since the epoch.
 */
public final class ArraysAsJson implements Transformation<SinkRecord> {
  /** The name by which Debezium's sink binds a text as JSON. */
  private static final String JSON = "io.debezium.data.Json";

  /** The newest schema and the one that replaces it: a topic has few. */
  private Schema known;
  private Schema replaced;

  @Override
  public SinkRecord apply(SinkRecord record) {
    if (!(record.value() instanceof Struct value)) {
      return record;
    }
    if (value.schema() != known) {
      known = value.schema();
      replaced = replace(known);
    }
    Struct row = new Struct(replaced);
    for (Field field : known.fields()) {
      Object of = value.get(field);
      boolean isArray = field.schema().type() == Schema.Type.ARRAY;
      row.put(field.name(), isArray && of != null ? json(of) : of);
    }
    return record.newRecord(record.topic(), record.kafkaPartition(), record.keySchema(), record.key(),
        replaced, row, record.timestamp());
  }

  private static Schema replace(Schema schema) {
    SchemaBuilder builder = SchemaBuilder.struct().name(schema.name()).version(schema.version());
    for (Field field : schema.fields()) {
      Schema of = field.schema();
      if (of.type() == Schema.Type.ARRAY) {
        SchemaBuilder json = SchemaBuilder.string().name(JSON);
        of = (of.isOptional() ? json.optional() : json).build();
      }
      builder.field(field.name(), of);
    }
    return builder.build();
  }

  static String json(Object value) {
    StringBuilder text = new StringBuilder();
    write(value, text);
    return text.toString();
  }

  private static void write(Object value, StringBuilder text) {
    if (value instanceof List<?> list) {
      String next = "[";
      for (Object one : list) {
        text.append(next);
        write(one, text);
        next = ",";
      }
      text.append(list.isEmpty() ? "[]" : "]");
    } else if (value instanceof Struct struct) {
      String next = "{";
      for (Field field : struct.schema().fields()) {
        text.append(next);
        string(field.name(), text);
        text.append(':');
        write(struct.get(field), text);
        next = ",";
      }
      text.append('}');
    } else if (value instanceof BigDecimal number) {
      BigDecimal short_ = number.signum() == 0 ? BigDecimal.ZERO : number.stripTrailingZeros();
      string(short_.toPlainString(), text);
    } else if (value instanceof Date time) {
      text.append(time.getTime());
    } else if (value == null || value instanceof Number || value instanceof Boolean) {
      text.append(value);
    } else {
      string(value.toString(), text);
    }
  }

  private static void string(String of, StringBuilder text) {
    text.append('"');
    for (char c : of.toCharArray()) {
      if (c == '"' || c == '\\') {
        text.append('\\').append(c);
      } else if (c < ' ') {
        text.append(String.format("\\u%04x", (int) c));
      } else {
        text.append(c);
      }
    }
    text.append('"');
  }

  @Override
  public ConfigDef config() {
    return new ConfigDef();
  }

  @Override
  public void configure(Map<String, ?> settings) {}

  @Override
  public void close() {}
}
