package market.connect;

import jakarta.ws.rs.GET;
import jakarta.ws.rs.Path;
import jakarta.ws.rs.Produces;
import java.util.Map;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.atomic.LongAdder;
import org.apache.kafka.connect.health.ConnectClusterState;
import org.apache.kafka.connect.rest.ConnectRestExtension;
import org.apache.kafka.connect.rest.ConnectRestExtensionContext;

/** {@code /metrics} of the Connect worker for Prometheus: which sinks run, and how many rows were refused. */
public final class Metrics implements ConnectRestExtension {
  /** By labels: a connector and one of three classes of SQLSTATE. */
  private static final Map<String, LongAdder> REFUSED = new ConcurrentSkipListMap<>();

  static void refused(String connector, String sqlClass) {
    String labels = "{connector=\"" + connector + "\",class=\"" + sqlClass + "\"}";
    REFUSED.computeIfAbsent(labels, any -> new LongAdder()).increment();
  }

  @Override
  public void register(ConnectRestExtensionContext context) {
    context.configurable().register(new Resource(context.clusterState()));
  }

  @Override
  public void configure(Map<String, ?> settings) {}

  @Override
  public void close() {}

  @Override
  public String version() {
    return "1";
  }

  /** The route. */
  @Path("/metrics")
  public static final class Resource {
    private final ConnectClusterState cluster;

    Resource(ConnectClusterState cluster) {
      this.cluster = cluster;
    }

    /** All of it as text; the number of lines is that of connectors and their tasks. */
    @GET
    @Produces("text/plain; version=0.0.4")
    public String render() {
      var connectors = new StringBuilder();
      var tasks = new StringBuilder();
      for (String name : cluster.connectors()) {
        var health = cluster.connectorHealth(name);
        line(connectors, "connect_connector_running{connector=\"" + name + "\"}",
            running(health.connectorState().state()));
        health.tasksState().forEach((task, state) ->
            line(tasks, "connect_task_running{connector=\"" + name + "\",task=\"" + task + "\"}",
                running(state.state())));
      }
      var refused = new StringBuilder();
      REFUSED.forEach((labels, count) ->
          line(refused, "connect_rows_refused_total" + labels, count.sum()));
      return head("connect_connector_running", "gauge", "1 while the connector runs.") + connectors
          + head("connect_task_running", "gauge", "1 while the task runs.") + tasks
          + head("connect_rows_refused_total", "counter",
              "Rows that the database refused, in the dead letters, by class of SQLSTATE.") + refused;
    }

    private static long running(String state) {
      return "RUNNING".equals(state) ? 1 : 0;
    }

    private static void line(StringBuilder out, String series, long value) {
      out.append(series).append(' ').append(value).append('\n');
    }

    private static String head(String name, String type, String help) {
      return "# HELP " + name + ' ' + help + "\n# TYPE " + name + ' ' + type + '\n';
    }
  }
}
