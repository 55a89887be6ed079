"""Word lists from which people, places and things get their invented names."""


def _words(text: str) -> list[str]:
    return text.split()


GIVEN_NAMES = _words(
    "Aino Alma Amara Anders Anika Aris Astrid Bao Beatriz Bela Bruno Camila Carlos Chidi Clara "
    "Dagmar Daniela Darius Devi Diego Dmitri Edda Eleni Elias Emeka Esra Farah Felix Fiona Freya "
    "Gabriel Gita Greta Hamid Hana Haruto Helga Hugo Ida Imani Ines Ingrid Ivo Jana Jasmin Javier "
    "Joao Jonas Kaito Karim Katja Kofi Lars Leila Lena Liam Linh Lucia Magnus Malik Mara Marek "
    "Mateo Mei Mila Mina Mira Mohan Nadia Naomi Nils Noor Olga Omar Oskar Paloma Pavel Petra Priya "
    "Rafael Rania Ravi Rosa Ruben Sana Sanjay Selma Sofia Soren Sunita Tariq Tea Theo Tomas Uma "
    "Valentin Vera Viktor Wanda Yara Yusuf Zainab Zoe"
)

SURNAMES = _words(
    "Abara Achterberg Adeyemo Albrekt Almeira Andrask Arvidell Bajwara Balcora Bergmane Bianchetti "
    "Bjornsund Borowik Brandeis Calderone Castellan Chandrake Cordova Dahlgren Dantasio Delacourte "
    "Dimitrova Drostan Duvalier Eklundh Eriksholm Falkenrath Farouqi Fernhout Fontaris Galvanti "
    "Gantner Gerhards Goswani Grimaldo Haakonsen Halvorsen Hartigan Hashemy Hollander Ibarrola "
    "Ilvonen Iwasake Jablonec Janssonius Jorgenbeck Kamarov Kapoorin Karlsted Kerkhove Khalidi "
    "Kowalczik Kurosai Lagerfelt Lamontagne Larochel Leitner Lindqvist Lombardo Lovegood Madsenius "
    "Mahlangu Marchetti Mbekwe Merinov Moravec Nakagome Navaretti Nduka Norlander Novotna Obrecht "
    "Okonjo Olivares Osterwald Paasonen Palmgren Parekh Pelletis Petrakis Quintela Rademaker "
    "Ramaswami Reinholt Rossavik Rutherglen Saarinen Salgueiro Sandoval Schellen Sigurdal Sokolova "
    "Stavros Sundberg Takemori Tanvira Thorvald Uchidame Ulvestad Valkonen Vandermeer Vasquero "
    "Verhoeven Vestergard Wachowski Weissburg Winterbourne Xanthos Yamadori Yilmazer Zaborski "
    "Zeballos Zielonka"
)

DEPARTMENTS = (
    "Engineering",
    "Sales",
    "Customer Support",
    "Operations",
    "Finance",
    "Manufacturing",
    "Marketing",
    "Information Technology",
    "Human Resources",
    "Logistics",
    "Research",
    "Procurement",
    "Quality",
    "Legal",
    "Product Management",
    "Data Platform",
    "Security",
    "Field Service",
    "Internal Audit",
    "Facilities",
    "Corporate Communications",
    "Treasury",
    "Tax",
    "Investor Relations",
    "Design",
    "Regulatory Affairs",
    "Training",
    "Partnerships",
    "Retail",
    "Warehouse",
    "Payroll",
    "Sustainability",
    "Business Intelligence",
    "Risk",
    "Executive Office",
    "Travel & Events",
)
"""Departments, the largest first."""

CITIES = (
    ("Stockholm", "Stockholms län", "Sweden", "SE", "sv-SE", "111 20"),
    ("Munich", "Bayern", "Germany", "DE", "de-DE", "80331"),
    ("Chicago", "IL", "United States", "US", "en-US", "60601"),
    ("London", None, "United Kingdom", "GB", "en-GB", "EC1A 1BB"),
    ("Bengaluru", "Karnataka", "India", "IN", "en-IN", "560001"),
    ("São Paulo", "SP", "Brazil", "BR", "pt-BR", "01310-100"),
    ("Warsaw", "Mazowieckie", "Poland", "PL", "pl-PL", "00-001"),
    ("Toronto", "ON", "Canada", "CA", "en-CA", "M5H 2N2"),
    ("Hamburg", "Hamburg", "Germany", "DE", "de-DE", "20095"),
    ("Austin", "TX", "United States", "US", "en-US", "73301"),
    ("Osaka", "Osaka", "Japan", "JP", "ja-JP", "530-0001"),
    ("Madrid", "Madrid", "Spain", "ES", "es-ES", "28001"),
    ("Leeds", None, "United Kingdom", "GB", "en-GB", "LS1 1UR"),
    ("Pune", "Maharashtra", "India", "IN", "en-IN", "411001"),
    ("Malmö", "Skåne län", "Sweden", "SE", "sv-SE", "211 18"),
    ("Seattle", "WA", "United States", "US", "en-US", "98101"),
    ("Kraków", "Małopolskie", "Poland", "PL", "pl-PL", "30-001"),
    ("Nairobi", None, "Kenya", "KE", "en-KE", "00100"),
    ("Lisbon", "Lisboa", "Portugal", "PT", "pt-PT", "1000-001"),
    ("Montréal", "QC", "Canada", "CA", "fr-CA", "H2Y 1C6"),
    ("Singapore", None, "Singapore", "SG", "en-SG", "018956"),
    ("Zürich", "ZH", "Switzerland", "CH", "de-CH", "8001"),
    ("Curitiba", "PR", "Brazil", "BR", "pt-BR", "80010-000"),
    ("Sapporo", "Hokkaido", "Japan", "JP", "ja-JP", "060-0001"),
)
"""City, state, country, country code, language, postal code; the largest site first."""

LEVELS = ("Associate", "Specialist", "Senior Specialist", "Analyst", "Engineer", "Coordinator")
PARTNERS = ("fabrikam", "adatum", "northwind", "tailspin", "wingtip", "litware", "proseware")
"""Invented partner companies; their domains end in `.example`."""

PROJECTS = _words(
    "Aurora Borealis Cascade Delta Equinox Falcon Glacier Horizon Indigo Juniper Kestrel "
    "Lighthouse Meridian Nebula Orion Pinnacle Quartz Riverbend Summit Tundra Umbra "
    "Vanguard Willow Xenon Yarrow Zephyr"
)

PRODUCTS = _words(
    "Expense Ledger Invoice Contract Timesheet Inventory Fleet Badge Survey Roadmap Telemetry "
    "Forecast Recruiting Onboarding Warranty Catalogue Booking Helpdesk Signature Archive Pricing "
    "Compliance Learning Benefits Quote Shipment Lab Vault Insight Backup"
)
