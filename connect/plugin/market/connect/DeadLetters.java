package market.connect;

import java.io.IOException;
import java.io.Reader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.SQLException;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.connect.errors.ConnectException;
import org.apache.kafka.connect.runtime.InternalSinkRecord;
import org.apache.kafka.connect.sink.SinkRecord;

/**
 * The topic of refused rows, as the processor writes it: key and value as they came, and the headers
 * topic, partition, offset and reason.
 *
 * <p>Connect's own dead-letter queue needs {@code errors.tolerance=all}, which also lets go of every
 * record that cannot be decoded while the registry is away.
 */
final class DeadLetters implements AutoCloseable {
  /** A broker that has not answered in this time fails the task: the row is read again. */
  private static final int TIMEOUT_MS = 30_000;
  /** Characters of the database's message that a header keeps: it repeats the row. */
  private static final int MAX_DETAIL = 500;

  private final String connector;
  private final String topic;
  private final Properties client = new Properties();
  /** Made with the first refused row: most sinks never need it. */
  private KafkaProducer<byte[], byte[]> producer;

  DeadLetters(Map<String, String> settings) {
    connector = settings.get("name");
    topic = settings.get(JdbcSink.TOPIC);
    String file = settings.getOrDefault(JdbcSink.CLIENT_FILE, "");
    if (!file.isEmpty()) {
      try (Reader reader = Files.newBufferedReader(Path.of(file))) {
        client.load(reader);
      } catch (IOException unreadable) {
        throw new ConnectException("cannot read " + file + ", the security settings of the dead letters:"
            + " correct " + JdbcSink.CLIENT_FILE, unreadable);
      }
    }
    client.put("bootstrap.servers", settings.get(JdbcSink.SERVERS));
    client.put("client.id", "dead-letters-" + connector);
    client.put("acks", "all");
    client.put("max.block.ms", TIMEOUT_MS);
    client.put("request.timeout.ms", TIMEOUT_MS / 2);
    client.put("delivery.timeout.ms", TIMEOUT_MS);
  }

  String topic() {
    return topic;
  }

  /** Returns when the brokers have it: the offset of the row may then be committed. */
  void send(SinkRecord record, SQLException refusal) {
    ConsumerRecord<byte[], byte[]> original = ((InternalSinkRecord) record).context().original();
    var letter = new ProducerRecord<>(topic, original.key(), original.value());
    String state = refusal.getSQLState();
    header(letter, "topic", original.topic());
    header(letter, "partition", String.valueOf(original.partition()));
    header(letter, "offset", String.valueOf(original.offset()));
    header(letter, "reason", "refused_by_database");
    header(letter, "sqlstate", state);
    String detail = String.valueOf(refusal.getMessage());
    header(letter, "detail", detail.substring(0, Math.min(MAX_DETAIL, detail.length())));
    try {
      if (producer == null) {
        producer = new KafkaProducer<>(client, new ByteArraySerializer(), new ByteArraySerializer());
      }
      producer.send(letter).get();
    } catch (ExecutionException refused) {
      throw new ConnectException("cannot write to " + topic + ", the topic of refused rows: check that "
          + "it exists and that the worker's user may write to it", refused.getCause());
    } catch (InterruptedException stopped) {
      Thread.currentThread().interrupt();
      throw new ConnectException("stopped while a refused row was written", stopped);
    }
    Metrics.refused(connector, state.substring(0, 2));
  }

  private static void header(ProducerRecord<?, ?> letter, String name, String value) {
    letter.headers().add(name, value.getBytes(StandardCharsets.UTF_8));
  }

  @Override
  public void close() {
    if (producer != null) {
      producer.close(Duration.ofSeconds(1));
    }
  }
}
