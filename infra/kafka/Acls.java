// Acls.java SERVERS [CLIENT_FILE]: gives the broker the ACLs of standard input, in one request. infra/acls.sh runs it: Kafka's own
// tool takes one user and one kind of operation, and a new JVM, for each line.
import java.io.FileReader;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Properties;
import java.util.Scanner;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

final class Acls {
    public static void main(String[] arguments) throws Exception {
        Properties settings = new Properties();
        if (arguments.length > 1) {
            try (FileReader file = new FileReader(arguments[1])) {
                settings.load(file);
            }
        }
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("default.api.timeout.ms", "30000");
        List<AclBinding> acls = new ArrayList<>();
        for (Scanner lines = new Scanner(System.in); lines.hasNextLine();) {
            String line = lines.nextLine().strip();
            if (!line.isEmpty() && !line.startsWith("#")) {
                read(line, acls);
            }
        }
        try (Admin admin = Admin.create(settings)) {
            admin.createAcls(acls).all().get();
        } catch (ExecutionException failed) {
            refuse(failed.getCause().getMessage());
        }
        System.out.println(acls.size());
    }

    /** One ACL for each operation and name of a line. */
    private static void read(String line, List<AclBinding> acls) {
        String[] words = line.split("\\s+");
        if (words.length != 5) {
            refuse("not 'user operations resource pattern names': " + line);
        }
        try {
            ResourceType type = ResourceType.valueOf(upper(words[2]));
            PatternType pattern = PatternType.valueOf(upper(words[3]));
            for (String operation : words[1].split(",")) {
                AccessControlEntry entry = new AccessControlEntry("User:" + words[0], "*",
                    AclOperation.valueOf(upper(operation)), AclPermissionType.ALLOW);
                for (String name : words[4].split(",")) {
                    acls.add(new AclBinding(new ResourcePattern(type, name, pattern), entry));
                }
            }
        } catch (IllegalArgumentException unknown) {
            refuse(unknown.getMessage() + ": " + line);
        }
    }

    private static String upper(String word) {
        return word.replaceAll("([a-z])([A-Z])", "$1_$2").replace('-', '_').toUpperCase(Locale.ROOT);
    }

    private static void refuse(String reason) {
        System.err.println(reason);
        System.exit(1);
    }
}
