package market.connect;

import io.debezium.connector.jdbc.JdbcChangeEventSink;
import io.debezium.connector.jdbc.JdbcSinkConnectorTask;
import java.sql.SQLException;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.connect.errors.ConnectException;
import org.apache.kafka.connect.sink.SinkRecord;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Writes a batch; when the database refuses it, writes its rows one by one and sends those that are
 * refused to the dead letters.
 *
 * <p>A row is refused when PostgreSQL says that its data is at fault: see {@link #refusal}. Any other
 * failure ends the task, and infra/heal-sinks.sh restarts it from the committed offsets: an outage of
 * database, registry or Kafka therefore never makes a dead letter.
 *
 * <p>Debezium 3.6 keeps a failure until the next batch, and has no public way to its writer. This task
 * calls the writer itself and throws at once, so Connect's own offsets are right.
 */
public final class JdbcSinkTask extends JdbcSinkConnectorTask {
  private static final Logger LOG = LoggerFactory.getLogger(JdbcSinkTask.class);

  private JdbcChangeEventSink writer;
  private DeadLetters deadLetters;

  @Override
  public void start(Map<String, String> settings) {
    super.start(settings);
    writer = writer();
    deadLetters = new DeadLetters(settings);
  }

  @Override
  public void put(Collection<SinkRecord> records) {
    try {
      writer.execute(records);
    } catch (RuntimeException failure) {
      if (refusal(failure) == null) {
        throw failure;
      }
      records.forEach(this::putOne);
    }
  }

  private void putOne(SinkRecord record) {
    try {
      writer.execute(List.of(record));
    } catch (RuntimeException failure) {
      SQLException refusal = refusal(failure);
      if (refusal == null) {
        throw failure;
      }
      deadLetters.send(record, refusal);
      LOG.warn("row of {}-{} at offset {} refused by the database, SQLSTATE {}: sent to {}",
          record.topic(), record.kafkaPartition(), record.kafkaOffset(), refusal.getSQLState(),
          deadLetters.topic());
    }
  }

  /** Everything that was put is written or in the dead letters. */
  @Override
  public Map<TopicPartition, OffsetAndMetadata> preCommit(
      Map<TopicPartition, OffsetAndMetadata> current) {
    return current;
  }

  @Override
  public void stop() {
    if (deadLetters != null) {
      deadLetters.close();
    }
    super.stop();
  }

  /**
   * The database's word that the data of a row is at fault, or null when anything else failed.
   *
   * <p>Classes of SQLSTATE: 22, the value does not fit its type; 23, a constraint; 54, a limit such as
   * the size of an index entry. A missing table (42), a full disk (53), a lost connection (08) and a
   * shutdown (57) are none.
   */
  static SQLException refusal(Throwable failure) {
    for (Throwable cause = failure; cause != null; cause = cause.getCause()) {
      // The error of a batch names its rows, and the next one in its chain the reason.
      Throwable link = cause;
      while (link instanceof SQLException sql) {
        String state = sql.getSQLState();
        if (state != null && (state.startsWith("22") || state.startsWith("23") || state.startsWith("54"))) {
          return sql;
        }
        link = sql.getNextException();
      }
    }
    return null;
  }

  private JdbcChangeEventSink writer() {
    try {
      var field = JdbcSinkConnectorTask.class.getDeclaredField("changeEventSink");
      field.setAccessible(true);
      return (JdbcChangeEventSink) field.get(this);
    } catch (ReflectiveOperationException absent) {
      throw new ConnectException("this version of Debezium has another JDBC sink task than 3.6: "
          + "install DEBEZIUM_VERSION of infra/versions.env", absent);
    }
  }
}
