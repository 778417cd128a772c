package market.connect;

import io.debezium.connector.jdbc.JdbcSinkConnector;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.common.config.ConfigDef.Importance;
import org.apache.kafka.common.config.ConfigDef.Type;
import org.apache.kafka.connect.connector.Task;

/** Debezium's JDBC sink with the task that survives a row which the database refuses. */
public final class JdbcSink extends JdbcSinkConnector {
  static final String TOPIC = "dead.letters.topic";
  static final String SERVERS = "dead.letters.bootstrap.servers";
  static final String CLIENT_FILE = "dead.letters.client.file";

  @Override
  public Class<? extends Task> taskClass() {
    return JdbcSinkTask.class;
  }

  @Override
  public ConfigDef config() {
    return new ConfigDef(super.config())
        .define(TOPIC, Type.STRING, Importance.HIGH, "The topic of refused rows.")
        .define(SERVERS, Type.STRING, Importance.HIGH, "The brokers of that topic, host:port.")
        .define(CLIENT_FILE, Type.STRING, "", Importance.MEDIUM,
            "A properties file on the worker with security settings of its producer; empty: none.");
  }
}
