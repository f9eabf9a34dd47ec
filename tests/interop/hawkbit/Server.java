// SPDX-License-Identifier: Apache-2.0
package interop;

import org.eclipse.hawkbit.autoconfigure.security.EnableHawkbitManagedSecurityConfiguration;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;

/** The hawkBit server as its own auto-configuration sets it up; Maven Central has its parts, not the program. */
@SpringBootApplication
@EnableHawkbitManagedSecurityConfiguration
public class Server {
    public static void main(String[] arguments) {
        SpringApplication.run(Server.class, arguments);
    }
}
